//! The tag files: what BagIt asks for, and our manifest.

use uuid::Uuid;

use super::layout::{self, BAG_INFO, BAGIT, CAPTURE, MANIFEST, TAGMANIFEST};
use super::manifest::Capture;
use crate::text;
use sha2::{Digest, Sha256};

/// All tag files but the signature, in order; the last is what is signed.
pub(super) fn files(capture: &Capture) -> serde_json::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = vec![
        (CAPTURE, serde_json::to_vec_pretty(capture)?),
        (MANIFEST, manifest(capture)),
        (BAGIT, BAGIT_TEXT.as_bytes().to_vec()),
        (BAG_INFO, bag_info(capture)),
    ];
    let mut tagmanifest = Vec::new();
    for (name, bytes) in &files {
        line(&mut tagmanifest, &text::hex(&Sha256::digest(bytes)), name);
    }
    files.push((TAGMANIFEST, tagmanifest));
    Ok(files)
}

/// The tag files as they stand in the tar, with the tar's end.
pub(super) fn tar(id: Uuid, files: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, bytes) in files {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        content.extend(layout::header(id, name, size));
        content.extend_from_slice(bytes);
        content.resize(content.len().saturating_add(layout::padding(size)), 0);
    }
    content.resize(content.len().saturating_add(layout::TAR_END), 0);
    content
}

/// `bagit.txt`.
pub(super) const BAGIT_TEXT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

fn manifest(capture: &Capture) -> Vec<u8> {
    let mut lines = Vec::new();
    for artifact in &capture.artifacts {
        line(&mut lines, &artifact.sha256, artifact.name.as_str());
    }
    lines
}

fn bag_info(capture: &Capture) -> Vec<u8> {
    let bytes = capture.artifacts.iter().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.size));
    format!(
        "Bagging-Date: {}\nBag-Software-Agent: afterimage {}\nExternal-Identifier: {}\nPayload-Oxum: {bytes}.{}\n",
        capture.sealed.strftime("%Y-%m-%d"),
        env!("CARGO_PKG_VERSION"),
        capture.id,
        capture.artifacts.len(),
    )
    .into_bytes()
}

/// One line of a BagIt manifest.
pub(super) fn line(lines: &mut Vec<u8>, sha256: &str, name: &str) {
    lines.extend_from_slice(sha256.as_bytes());
    lines.extend_from_slice(b"  ");
    lines.extend_from_slice(name.as_bytes());
    lines.push(b'\n');
}
