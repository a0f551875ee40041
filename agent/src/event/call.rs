//! What a process asked the kernel for: what changes what can be run, seen, or done.

use serde::{Deserialize, Serialize};

use super::Flow;
use crate::text::Bytes;

/// One call that succeeded.
///
/// Numbers and names of kernel objects are the kernel's. A path is what the caller's memory held when the call returned:
/// another thread of it could have changed that meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Which.
    #[serde(rename = "afterimage.call")]
    pub what: What,
    /// What it is about. A relative path was joined to the working directory that the program was started in; one that
    /// started from another folder begins with `...`.
    #[serde(rename = "file.path", skip_serializing_if = "Bytes::is_empty", default)]
    pub path: Bytes,
    /// Where that went: the new name of a rename, the place of a mount.
    #[serde(rename = "file.target_path", skip_serializing_if = "Bytes::is_empty", default)]
    pub target: Bytes,
    /// The mode of a chmod; the flags of a mount, a namespace, an io_uring; the pid (as the caller wrote it) of a traced
    /// or written process; the number of a BPF program.
    #[serde(rename = "afterimage.number", skip_serializing_if = "Option::is_none", default)]
    pub number: Option<u64>,
    /// Whether a 32-bit program called.
    #[serde(rename = "afterimage.compat", skip_serializing_if = "super::is_false", default)]
    pub compat: bool,
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A file in memory was made (`memfd_create`); the path is its name.
    Memfd,
    /// Another process is traced from now on (`ptrace`, attach or seize).
    Ptrace,
    /// Another process's memory was written (`process_vm_writev`).
    WriteMemory,
    /// A BPF program was loaded; the path is its name.
    LoadProgram,
    /// A kernel module was loaded; the path is its name.
    LoadModule,
    /// Something was mounted, moved, or made the root.
    Mount,
    /// A mount was taken off.
    Unmount,
    /// A namespace was made or entered (`unshare`, `setns`).
    Namespace,
    /// The caller's effective user is root now (`setuid`, `setreuid`, `setresuid`).
    BecomeRoot,
    /// A file was made executable.
    Chmod,
    /// A file was renamed.
    Rename,
    /// A file was deleted.
    Unlink,
    /// An io_uring was set up: what it does is seen by no system call.
    IoUring,
}

impl Call {
    /// Its paths joined to the working directory, where they are relative to it.
    pub fn joined(&mut self, directory: &Bytes) {
        // What is mounted need not be a file.
        if self.what.is_about_a_file() {
            join(&mut self.path, directory);
        }
        join(&mut self.target, directory);
    }
}

impl What {
    fn is_about_a_file(self) -> bool {
        matches!(self, Self::Unmount | Self::Chmod | Self::Rename | Self::Unlink)
    }
}

fn join(path: &mut Bytes, directory: &Bytes) {
    let is_relative = !path.is_empty() && !path.0.starts_with(b"/") && !path.0.starts_with(b".../");
    if is_relative && !directory.is_empty() {
        let own = path.0.strip_prefix(b"./").unwrap_or(&path.0);
        let slash = if directory.0.ends_with(b"/") { &b""[..] } else { b"/" };
        path.0 = [directory.as_slice(), slash, own].concat();
    }
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// From where to which server.
    #[serde(flatten)]
    pub flow: Flow,
    /// The name that is asked for; empty when the datagram is no question.
    #[serde(rename = "dns.question.name")]
    pub name: Bytes,
    /// The type of record that is asked for (RFC 1035, 3.2.2).
    #[serde(rename = "dns.question.type")]
    pub kind: u16,
}

/// The end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Which; by now with both ports.
    #[serde(flatten)]
    pub flow: Flow,
    /// Bytes that we sent, those sent again not counted.
    #[serde(rename = "source.bytes")]
    pub sent: u64,
    /// Bytes that the other side sent; its end counts as one.
    #[serde(rename = "destination.bytes")]
    pub received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(what: What, path: &str, target: &str, directory: &str) -> (String, String) {
        let mut call = Call { what, path: path.into(), target: target.into(), number: None, compat: false };
        call.joined(&directory.into());
        (call.path.to_string(), call.target.to_string())
    }

    #[test]
    fn relative_paths_are_joined_and_others_are_left() {
        let of = |path: &str, target: &str| (path.to_owned(), target.to_owned());
        assert_eq!(joined(What::Rename, "a", "./b", "/tmp"), of("/tmp/a", "/tmp/b"));
        assert_eq!(joined(What::Rename, "/a", ".../b", "/tmp"), of("/a", ".../b"));
        assert_eq!(joined(What::Mount, "tmpfs", "here", "/"), of("tmpfs", "/here"));
        assert_eq!(joined(What::Unlink, "a", "", ""), of("a", ""));
    }
}
