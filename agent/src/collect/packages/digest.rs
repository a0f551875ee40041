//! SHA-256 of a file, and whether its content has the sum that a package says, in one pass.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Instant;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::bundle::Outcome;
use crate::collect::attempts::Miss;
use crate::collect::file::reopen;
use crate::packages::Sum;
use crate::text;

/// What a file's content is.
#[derive(Debug)]
pub(in crate::collect) struct Hashed {
    pub(in crate::collect) sha256: String,
    pub(in crate::collect) matches: Option<bool>,
}

pub(in crate::collect) fn digest(path: &OwnedFd, sum: Option<Sum>, until: Instant) -> Result<Hashed, Miss> {
    let mut file = reopen(path)?;
    let (mut sha256, mut md5, mut sha1) = (Sha256::new(), Md5::new(), Sha1::new());
    let mut buffer = vec![0; 256 << 10];
    loop {
        if Instant::now() >= until {
            return Err(Miss::new(Outcome::TimedOut, "the time was up while it was hashed"));
        }
        let count = file.read(&mut buffer).map_err(|error| Miss::at("read", &error))?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        sha256.update(read);
        match sum {
            Some(Sum::Md5(_)) => md5.update(read),
            Some(Sum::Sha1(_)) => sha1.update(read),
            None => {}
        }
    }
    let matches = sum.map(|sum| match sum {
        Sum::Md5(expected) => md5.finalize().as_slice() == expected,
        Sum::Sha1(expected) => sha1.finalize().as_slice() == expected,
    });
    Ok(Hashed { sha256: text::hex(&sha256.finalize()), matches })
}
