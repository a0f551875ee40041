//! Images of a machine's whole RAM: taken by the agent inside (tests/src/ram.rs), carried out on disks, and judged here by
//! tools that are not ours: `tar`, `sha256sum`, volatility3.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::kernels::Kernel;
use super::qemu::{self, Machine};
use crate::command::{command, output, run as run_command, workspace};
use crate::setup::python;

/// MiB of memory: with the agent, its temporary files and a compressed image of itself it must do.
const MEMORY: u32 = 512;
/// What a disk needs, in the order in which they are inserted.
const MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];
/// Sparse; a bundle is smaller than the memory.
const DISK_BYTES: u64 = 1 << 30;
/// Where on a disk the bundle begins.
const BUNDLE_AT: u64 = 4096;
/// Seconds for one plug-in of volatility3.
const PATIENCE: &str = "300";

/// One image: how it was taken, the files it consists of, and what volatility3 must make of them.
struct Image {
    way: &'static str,
    extension: &'static str,
    layer: &'static str,
}

const IMAGES: [Image; 2] = [
    Image { way: "kcore", extension: "lime", layer: "LimeLayer" },
    Image { way: "probe", extension: "avml", layer: "AVMLLayer" },
];

/// Boots, and judges what comes out.
pub fn run(kernel: &Kernel, binaries: &Path) -> Result<()> {
    let folder = workspace().join("target/vm/ram");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let package = kernel.package()?;
    let initramfs = super::initramfs("ram", binaries, &inside(&package)?)?;
    let mut disks = Vec::new();
    for image in &IMAGES {
        let disk = folder.join(format!("{}.disk", image.way));
        File::create(&disk)?.set_len(DISK_BYTES)?;
        disks.push(disk);
    }
    println!("vm {} RAM: {}", kernel.version, package.image.display());
    let machine =
        Machine { image: &package.image, initramfs: &initramfs, memory: MEMORY, argument: "ram", disks };
    let said = qemu::boot(qemu::boot_command(&machine))?;
    let banner = said.iter().find_map(|line| line.strip_prefix("init: banner: "));
    let banner = banner.context("the machine did not tell its banner")?;
    let mut places = Vec::new();
    for (image, disk) in IMAGES.iter().zip(&machine.disks) {
        let found =
            judge(image, disk, &folder, banner).with_context(|| format!("the image by {}", image.way))?;
        places.push(found);
    }
    ensure!(
        places.iter().all(|place| places.first() == Some(place)),
        "the kernel's banner is not at the same physical address in both images: {places:x?}"
    );
    Ok(())
}

/// The modules, numbered in their order, and the kernel's configuration.
fn inside(package: &super::kernels::Package) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for (number, module) in package.modules(&MODULES).into_iter().enumerate() {
        files.push((format!("modules/{number}.ko"), module));
    }
    let configuration = package.configuration()?;
    let name = configuration.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.push((format!("boot/{name}"), configuration));
    Ok(files)
}

/// Has the image judged, and answers where volatility3 found the kernel's own banner.
fn judge(image: &Image, disk: &Path, folder: &Path, banner: &str) -> Result<u64> {
    let bag = unpack(disk, &folder.join(image.way))?;
    run_command(command("sha256sum").args(["--check", "--quiet", "manifest-sha256.txt"]).current_dir(&bag))?;
    let kit = bag.join("data/kernel/symbols");
    let kept = fs::read_to_string(kit.join("banner"))?;
    ensure!(kept.trim_end() == banner, "the kit's banner is `{kept}`");
    let symbols = fs::read_to_string(kit.join("kallsyms"))?;
    let code =
        symbols.lines().any(|line| line.ends_with(" T _text") && !line.starts_with("0000000000000000"));
    ensure!(code, "the kit's kallsyms does not tell where the kernel's code is");
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
    let place = all.iter().find(|row| row["Banner"] == banner).and_then(|row| row["Offset"].as_u64());
    let place = place.with_context(|| format!("volatility3 does not find `{banner}`: {found}"))?;
    println!("  {}: {} and the banner at {place:#x}", image.way, image.layer);
    Ok(place)
}

/// The bag of the bundle that a disk carries.
fn unpack(disk: &Path, into: &Path) -> Result<PathBuf> {
    let mut disk = BufReader::new(File::open(disk)?);
    let mut length = String::new();
    disk.by_ref().take(BUNDLE_AT).read_line(&mut length)?;
    let length: u64 =
        length.trim_end().parse().with_context(|| format!("the disk begins with `{length}`"))?;
    disk.seek(SeekFrom::Start(BUNDLE_AT))?;
    let bundle = into.with_extension("tar.zst");
    let copied = io::copy(&mut disk.take(length), &mut File::create(&bundle)?)?;
    ensure!(copied == length, "the disk holds {copied} of {length} bytes");
    fs::create_dir_all(into)?;
    run_command(
        command("tar").args(["--zstd", "--extract", "--file"]).arg(&bundle).arg("--directory").arg(into),
    )?;
    match fs::read_dir(into)?.collect::<io::Result<Vec<_>>>()?.as_slice() {
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
