//! Debian's kernels: looked up, fetched and checked by apt, unpacked, never installed.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{command, output, run, workspace};
use crate::setup::apt::Apt;

/// One line of tests/kernels.toml.
#[derive(Deserialize)]
pub struct Kernel {
    /// `6.1`
    pub version: String,
    suites: Vec<String>,
    package: String,
}

/// An unpacked kernel.
pub struct Package {
    folder: PathBuf,
    /// What is booted.
    pub image: PathBuf,
}

impl Package {
    /// Those of the modules `names` that the kernel does not have built in, in this order; some are packed by xz.
    pub fn modules(&self, names: &[&str]) -> Vec<PathBuf> {
        let is = |path: &Path, name: &str| {
            let rest = path.file_name().and_then(|file| file.as_bytes().strip_prefix(name.as_bytes()));
            matches!(rest, Some(b".ko" | b".ko.xz"))
        };
        names.iter().filter_map(|name| find(&self.folder, &|path| is(path, name))).collect()
    }

    /// What it was built with; its name ends with the kernel's release.
    pub fn configuration(&self) -> Result<PathBuf> {
        let name = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"config-"));
        find(&self.folder.join("boot"), &name).context("the package has no boot/config-RELEASE")
    }
}

/// A file below `folder`.
fn find(folder: &Path, is: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => find(&path, is),
        false => is(&path).then_some(path),
    })
}

#[derive(Deserialize)]
struct Table {
    kernel: Vec<Kernel>,
}

/// Those of tests/kernels.toml.
pub fn all() -> Result<Vec<Kernel>> {
    let path = workspace().join("tests/kernels.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("{} is not what it should be", path.display()))?;
    Ok(table.kernel)
}

impl Kernel {
    /// The unpacked package, fetched if the newest one is not here yet.
    pub fn package(&self) -> Result<Package> {
        let suites: Vec<&str> = self.suites.iter().map(String::as_str).collect();
        let apt = Apt::update(&format!("kernel-{}", self.version), &suites, false)?;
        let package = self.newest(&apt)?;
        let version = output(apt.command("apt-cache").args(["--no-all-versions", "show", &package]))?;
        let version = field(&version, "Version").context("apt-cache show names no version")?.to_owned();
        let folder = cache()?.join(format!("{package}_{}", version.replace(['/', ':'], "-")));
        if let Some(image) = image_in(&folder) {
            return Ok(Package { folder, image });
        }
        let fresh = cache()?.join(format!("{package}.partial"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh).with_context(|| format!("make {}", fresh.display()))?;
        // apt compares the file with the SHA-256 of the signed lists.
        run(apt.command("apt-get").args(["-qq", "download", &package]).current_dir(&fresh))?;
        let archive = fs::read_dir(&fresh)?.next().context("apt-get download left no file")??.path();
        run(command("dpkg-deb").arg("--extract").arg(&archive).arg(&fresh))?;
        fs::remove_file(&archive)?;
        fs::rename(&fresh, &folder).with_context(|| format!("keep {}", folder.display()))?;
        let image = image_in(&folder)
            .with_context(|| format!("{package} holds no kernel image where one is looked for"))?;
        Ok(Package { folder, image })
    }

    fn newest(&self, apt: &Apt) -> Result<String> {
        let names = output(apt.command("apt-cache").arg("pkgnames"))?;
        match newest(&names, &self.package) {
            Some(name) => Ok(name.to_owned()),
            None => {
                bail!("no package `{}` in {}: adapt tests/kernels.toml", self.package, self.suites.join(", "))
            }
        }
    }
}

fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("afterimage/kernels"))
}

/// Until 6.x the image is boot/vmlinuz-RELEASE, from 7.x on usr/lib/modules/RELEASE/vmlinuz.
fn image_in(package: &Path) -> Option<PathBuf> {
    let entries = |folder: &str| fs::read_dir(package.join(folder)).into_iter().flatten().flatten();
    let old = entries("boot").map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_bytes().starts_with(b"vmlinuz-")
    });
    old.or_else(|| {
        entries("usr/lib/modules").map(|entry| entry.path().join("vmlinuz")).find(|path| path.exists())
    })
}

/// The value of a field in what apt prints of a package.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The name that fits `pattern` with the highest numbers where the pattern has `#`.
fn newest<'a>(names: &'a str, pattern: &str) -> Option<&'a str> {
    names.lines().filter_map(|name| Some((numbers(name, pattern)?, name))).max().map(|(_, name)| name)
}

/// The numbers of `name` at the places of `#`; `None` where it does not fit.
fn numbers(name: &str, pattern: &str) -> Option<Vec<u64>> {
    let mut parts = pattern.split('#');
    let mut rest = name.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    for part in parts {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        found.push(digits.parse().ok()?);
        rest = after.strip_prefix(part)?;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-48-cloud-amd64\n\
        linux-image-6.1.0-48-cloud-amd64-dbg\nlinux-image-6.1.0-0.deb11.52-cloud-amd64\nlinux-image-cloud-amd64\n";

    #[test]
    fn the_newest_is_by_number_and_look_alikes_do_not_count() {
        assert_eq!(
            newest(NAMES, "linux-image-6.1.0-#-cloud-amd64"),
            Some("linux-image-6.1.0-48-cloud-amd64")
        );
        assert_eq!(newest(NAMES, "linux-image-5.10.0-#-cloud-amd64"), None);
        assert_eq!(newest("", "#"), None);
    }

    #[test]
    fn several_numbers_compare_from_the_left() {
        let names = "k-6.12.9+deb13+10\nk-6.12.10+deb13+1\n";
        assert_eq!(newest(names, "k-6.12.#+deb13+#"), Some("k-6.12.10+deb13+1"));
    }

    #[test]
    fn numbers_refuse_what_does_not_fit() {
        for name in ["", "k-", "k-x", "k-1x", "k-99999999999999999999", "a-1"] {
            assert_eq!(numbers(name, "k-#"), None, "{name}");
        }
        assert_eq!(numbers("k-12", "k-#"), Some(vec![12]));
    }

    #[test]
    fn fields_of_a_package_record_are_found_at_the_start_of_a_line() {
        let record = "Package: a\nDescription: has Version: 9\nVersion: 1:2.3-4\nSHA256: 00\n";
        assert_eq!(field(record, "Version"), Some("1:2.3-4"));
        assert_eq!(field(record, "Size"), None);
    }
}
