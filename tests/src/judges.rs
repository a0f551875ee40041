//! The tools that are not ours: what they say of a bundle is what counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::world::PYTHON;

/// An extracted bundle.
pub struct Bag(PathBuf);

/// A judge's name, as a person would type it, and its judgement.
pub type Judgement = (&'static str, Result<()>);

impl Bag {
    /// `tar --zstd -xf BUNDLE` into a folder of its own below `into`.
    pub fn extract(bundle: &Path, into: &Path) -> Result<Self> {
        fs::create_dir_all(into)?;
        run(Command::new("tar").arg("--zstd").arg("-xf").arg(bundle).arg("-C").arg(into))?;
        let roots: Vec<_> = fs::read_dir(into)?.flatten().map(|entry| entry.path()).collect();
        ensure!(roots.len() == 1, "a bundle holds one folder, its id, and this one holds {roots:?}");
        Ok(Self(roots.into_iter().next().context("no folder")?))
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Everybody's judgement, each named.
    pub fn judge(&self, allowed_signers: &Path, principal: &str) -> [Judgement; 3] {
        [
            ("sha256sum -c", self.sha256sum()),
            ("bagit.py --validate", self.bagit()),
            ("ssh-keygen -Y verify", self.ssh_keygen(allowed_signers, principal)),
        ]
    }

    /// Fails when any judge finds fault.
    pub fn is_good(&self, allowed_signers: &Path, principal: &str) -> Result<()> {
        for (name, judgement) in self.judge(allowed_signers, principal) {
            judgement.with_context(|| format!("`{name}` finds fault with {}", self.0.display()))?;
        }
        Ok(())
    }

    fn sha256sum(&self) -> Result<()> {
        for manifest in ["tagmanifest-sha256.txt", "manifest-sha256.txt"] {
            run(Command::new("sha256sum")
                .args(["--strict", "--quiet", "-c", manifest])
                .current_dir(&self.0))?;
        }
        Ok(())
    }

    fn bagit(&self) -> Result<()> {
        let script = Path::new(PYTHON).join("bin/bagit.py");
        let packages = site_packages()?;
        run(Command::new("python3").arg(script).arg("--validate").arg(&self.0).env("PYTHONPATH", packages))
    }

    fn ssh_keygen(&self, allowed_signers: &Path, principal: &str) -> Result<()> {
        let signed = File::open(self.file("tagmanifest-sha256.txt"))?;
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-n", "afterimage", "-I", principal, "-f"]).arg(allowed_signers);
        run(command.arg("-s").arg(self.file("tagmanifest-sha256.txt.sig")).stdin(signed))
    }
}

/// Where the judges that are written in Python are.
pub fn site_packages() -> Result<PathBuf> {
    let library = Path::new(PYTHON).join("lib");
    let python = fs::read_dir(&library)
        .with_context(|| format!("{} is missing: `cargo xtask setup` installs bagit.py", library.display()))?
        .next()
        .context("no Python below target/python/lib")??;
    Ok(python.path().join("site-packages"))
}

/// What gdb says of a core when it is given these commands.
pub fn gdb(executable: &Path, core: &Path, commands: &[&str]) -> Result<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--nx", "-iex", "set debuginfod enabled off"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.arg(executable).arg(core).stdin(Stdio::null()).output().context("cannot start gdb")?;
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "gdb failed: {}\n{said}", output.status);
    Ok(said)
}

/// What mactime (The Sleuth Kit) makes of a body file: `-d`, one line of commas for each time of each file.
pub fn mactime(body: &Path) -> Result<String> {
    output(Command::new("mactime").args(["-d", "-z", "UTC", "-b"]).arg(body))
}

/// What plaso's parser reads of a body file, as JSON: `files` (name, mode, size), and its `warnings`.
pub fn plaso_body(body: &Path) -> Result<String> {
    let script = include_str!("../fixtures/plaso_body.py");
    output(
        Command::new("/usr/bin/python3").args(["-c", script]).arg(body).env("PYTHONPATH", site_packages()?),
    )
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}
