//! `/proc/PID/ns/*`: symbolic links that read `<type>:[<inode>]`.

use super::decimal;

/// The inode number in a namespace link's text, such as `pid:[4026531836]`.
pub fn namespace_inode(link: &[u8]) -> Option<u32> {
    let colon = link.iter().position(|&byte| byte == b':')?;
    decimal(link.get(colon + 1..)?.strip_prefix(b"[")?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_is_read_and_anything_else_refused() {
        assert_eq!(namespace_inode(b"pid:[4026531836]"), Some(4_026_531_836));
        for text in ["", "pid", "pid:", "pid:[]", "pid:[-1]", "pid:[1", "pid:[99999999999]", "/bin/sh"] {
            assert_eq!(namespace_inode(text.as_bytes()), None, "{text}");
        }
    }
}
