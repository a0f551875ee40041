//! Extended attributes of what a path descriptor stands for.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

/// The values we ask for are a letter or two.
const VALUE: usize = 64;

/// The value of `name`; nothing where there is none, or it is long.
pub(crate) fn xattr(path: impl AsFd, name: &CStr) -> Option<Vec<u8>> {
    // A path descriptor itself cannot be asked.
    let link = CString::new(format!("/proc/self/fd/{}", path.as_fd().as_raw_fd())).ok()?;
    let mut value = vec![0_u8; VALUE];
    #[expect(unsafe_code, reason = "nix has no getxattr")]
    // SAFETY: both names end with a NUL, and `value` has room for as many bytes as are said.
    let count =
        unsafe { libc::getxattr(link.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(count).ok()?);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_attribute_answers_nothing() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(xattr(&file, c"user.none"), None);
        assert_eq!(xattr(&file, c""), None);
    }
}
