//! What the distribution's package managers know: which packages are installed, which file is whose, and what a file's
//! content should be. Pure: the databases' bytes in, values out.

pub(crate) mod apk;
pub(crate) mod dpkg;

use serde::Serialize;

use crate::text::Bytes;

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    pub(crate) manager: &'static str,
    pub(crate) name: Bytes,
    pub(crate) version: Bytes,
    pub(crate) architecture: Bytes,
    /// As the manager says it: `install ok installed`.
    pub(crate) state: Bytes,
}

/// What a file's content was when it was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Md5([u8; 16]),
    Sha1([u8; 20]),
}

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) package: Vec<u8>,
    pub(crate) sum: Option<Sum>,
}

/// A hexadecimal MD5.
fn md5(text: &[u8]) -> Option<Sum> {
    let bytes = crate::text::unhex(std::str::from_utf8(text).ok()?)?;
    Some(Sum::Md5(bytes.try_into().ok()?))
}
