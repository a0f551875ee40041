//! Images of a machine's whole RAM: taken by the agent inside (tests/src/ram.rs), carried out on a disk, and judged here by
//! tools that are not ours: `tar`, `sha256sum`, volatility3.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::kernels::{Kernel, Package};
use super::qemu::{self, Machine};
use crate::command::{command, output, run as run_command, workspace};
use crate::setup::python;

/// MiB of memory: with the agent, its temporary files and a compressed image of itself it must do.
const MEMORY: u32 = 512;
/// What a disk needs, in the order in which they are inserted.
const MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];
/// Sparse; a bundle is smaller than the memory, and the third has none of it.
const DISK_BYTES: u64 = 1536 << 20;
/// Three captures, two of them of all memory, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(15);
/// Seconds for one plug-in of volatility3.
const PATIENCE: &str = "300";

/// One image: how it was taken, the files it consists of, and what volatility3 must make of them.
struct Image {
    way: &'static str,
    extension: &'static str,
    layer: &'static str,
}

const IMAGES: [Image; 2] = [
    Image { way: "kcore", extension: "avml", layer: "AVMLLayer" },
    Image { way: "probe", extension: "lime", layer: "LimeLayer" },
];

/// Boots, and judges what comes out.
pub fn run(kernel: &Kernel, binaries: &Path) -> Result<()> {
    let folder = workspace().join("target/vm/ram");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let package = kernel.package()?;
    let initramfs = super::initramfs("ram", binaries, &inside(&package, &folder)?)?;
    let disk = folder.join("disk");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    run_command(command("/usr/sbin/mke2fs").args(["-q", "-t", "ext4"]).arg(&disk))?;
    println!("vm {} RAM: {}", kernel.version, package.image.display());
    let machine = Machine {
        image: &package.image,
        initramfs: &initramfs,
        memory: MEMORY,
        argument: "ram",
        disk: Some(&disk),
        deadline: DEADLINE,
    };
    let said = qemu::boot(&machine)?;
    let banner = said.iter().find_map(|line| line.strip_prefix("init: banner: "));
    let banner = banner.context("the machine did not tell its banner")?;
    IMAGES.iter().try_for_each(|image| {
        judge(image, &disk, &folder, banner).with_context(|| format!("the image by {}", image.way))
    })
}

/// The modules, numbered in their order, and the kernel's configuration.
fn inside(package: &Package, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for (number, mut module) in package.modules(&MODULES).into_iter().enumerate() {
        let name = format!("{number}.ko");
        if module.extension().is_some_and(|kind| kind == "xz") {
            let plain = folder.join(&name);
            let mut unpack = command("xz");
            unpack.args(["--decompress", "--stdout"]).arg(&module).stdout(File::create(&plain)?);
            run_command(&mut unpack)?;
            module = plain;
        }
        files.push((format!("modules/{name}"), module));
    }
    let configuration = package.configuration()?;
    let name = configuration.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.push((format!("boot/{name}"), configuration));
    Ok(files)
}

/// Has the image judged: volatility3 must find the banner where the kernel has it.
fn judge(image: &Image, disk: &Path, folder: &Path, banner: &str) -> Result<()> {
    let bag = unpack(disk, image.way, folder)?;
    run_command(command("sha256sum").args(["--check", "--quiet", "manifest-sha256.txt"]).current_dir(&bag))?;
    let kit = bag.join("data/kernel/symbols");
    let kept = fs::read_to_string(kit.join("banner"))?;
    ensure!(kept.trim_end() == banner, "the kit's banner is `{kept}`");
    let place = place_of_banner(&kit)?;
    ensure!(fs::read_to_string(kit.join("vmcoreinfo"))?.contains("KERNELOFFSET="), "an odd vmcoreinfo");
    let report: Value = serde_json::from_slice(&fs::read(bag.join("data/memory/ram.json"))?)?;
    ensure!(report["way"] == image.way, "it was taken another way: {}", report["way"]);
    println!(
        "  {}: {} to {}; {} bytes unread",
        image.way, report["began"]["time"], report["ended"]["time"], report["unread_bytes"]
    );

    let whole = joined(&bag.join("data/memory/ram"), image.extension, folder)?;
    let layers = volatility(&whole, folder, &["layerwriter.LayerWriter", "--list"])?;
    ensure!(layers.to_string().contains(image.layer), "volatility3 makes of it: {layers}");
    let found = volatility(&whole, folder, &["banners.Banners"])?;
    let all = found.as_array().context("no list of banners")?;
    let there = all.iter().find(|row| row["Offset"] == place && row["Banner"] == banner);
    there.with_context(|| format!("volatility3 does not find `{banner}` at {place:#x}: {found}"))?;
    println!("  {}: {}, and {} banners, the kernel's own at {place:#x}", image.way, image.layer, all.len());
    Ok(())
}

/// The physical address of the kernel's banner: as far from its code as in its own addresses.
fn place_of_banner(kit: &Path) -> Result<u64> {
    let symbols = fs::read_to_string(kit.join("kallsyms"))?;
    let address = |name: &str| -> Result<u64> {
        let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name));
        let line = line.with_context(|| format!("the kit's kallsyms has no {name}"))?;
        Ok(u64::from_str_radix(line.split(' ').next().unwrap_or_default(), 16)?)
    };
    let kernel: Value = serde_json::from_slice(&fs::read(kit.join("kaslr.json"))?)?;
    let code = kernel["code"].as_str().and_then(|code| code.strip_prefix("0x"));
    let code = u64::from_str_radix(code.context("kaslr.json does not tell where the code is")?, 16)?;
    (address("linux_banner")? - address("_text")?).checked_add(code).context("an odd place")
}

/// The bag of a bundle that the disk carries.
fn unpack(disk: &Path, way: &str, folder: &Path) -> Result<PathBuf> {
    let (bundle, into) = (folder.join(format!("{way}.tar.zst")), folder.join(way));
    let request = format!("dump /{way}.tar.zst {}", bundle.display());
    run_command(command("/usr/sbin/debugfs").args(["-R", &request]).arg(disk))?;
    fs::create_dir_all(&into)?;
    run_command(
        command("tar").args(["--zstd", "--extract", "--file"]).arg(&bundle).arg("--directory").arg(&into),
    )?;
    match fs::read_dir(&into)?.collect::<io::Result<Vec<_>>>()?.as_slice() {
        [bag] => Ok(bag.path()),
        many => bail!("{} folders in a bundle", many.len()),
    }
}

/// As docs/ram.md says: the files, in the order of their names.
fn joined(parts: &Path, extension: &str, folder: &Path) -> Result<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(parts)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    names.sort();
    let path = folder.join(format!("whole.{extension}"));
    let mut whole = File::create(&path)?;
    for name in names {
        ensure!(name.extension().is_some_and(|kind| kind == extension), "{} is no part", name.display());
        io::copy(&mut File::open(&name)?, &mut whole)?;
    }
    Ok(path)
}

fn volatility(image: &Path, folder: &Path, plugin: &[&str]) -> Result<Value> {
    let cache = folder.join("cache");
    fs::create_dir_all(&cache)?;
    let mut vol = command("timeout");
    vol.arg(PATIENCE).arg(python().join("bin/vol")).args(["-q", "-r", "json", "--offline", "--cache-path"]);
    let said = output(vol.arg(cache).arg("-f").arg(image).args(plugin))?;
    serde_json::from_str(&said).with_context(|| format!("volatility3 said: {said}"))
}
