//! The host's key: Ed25519 in OpenSSH's format; it signs tag manifests and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use super::layout;

/// Namespace of the SSH signature.
pub const NAMESPACE: &str = "afterimage";
/// Name of the key's file.
pub const KEY_FILE: &str = "host_ed25519";
/// A key file is some 400 bytes long.
const KEY_FILE_MAX: u64 = 16 << 10;

/// The host's signing key.
pub struct Key(PrivateKey);

/// Why there is no key, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or its folder.
    #[error("cannot {step} {}: {source}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others can read or change it.
    #[error("the signing key {} is open to others (mode {mode:o}, owner {owner}): somebody else may have it. If you are sure that nobody has, `chmod 600` it; otherwise move it away, and a new one is made", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// Not a key we can use.
    #[error("{} is not an unencrypted Ed25519 key in OpenSSH's format ({why}): move it away, and a new one is made", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// There is none yet.
    #[error("there is no signing key {} yet: `afterimage key new` makes one", .0.display())]
    None(PathBuf),
    /// There is one already.
    #[error("there is a signing key {} already: bundles signed with it need it; move it away to make a new one", .0.display())]
    Exists(PathBuf),
    /// Only tag manifests are signed.
    #[error("this is not a tag manifest, and nothing else is signed: {0}")]
    NotATagManifest(&'static str),
    /// The kernel gives no random numbers.
    #[error("cannot make a key: no random numbers ({0})")]
    Random(String),
    /// ssh-key's own.
    #[error("cannot sign: {0}")]
    Sign(#[from] ssh_key::Error),
}

impl Key {
    /// The key in the folder `keys`; made, with the comment `afterimage@<machine id>`, when there is none.
    pub fn load_or_create(keys: &Path, machine_id: &str) -> Result<Self, Error> {
        match Self::load(keys) {
            Err(Error::None(_)) => match Self::create(keys, machine_id) {
                // Another process was faster.
                Err(Error::Exists(_)) => Self::load(keys),
                made => made,
            },
            loaded => loaded,
        }
    }

    /// The key in the folder `keys`.
    pub fn load(keys: &Path) -> Result<Self, Error> {
        let path = keys.join(KEY_FILE);
        let failed = |source| Error::File { step: "read the signing key", path: path.clone(), source };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::None(path)),
            Err(error) => return Err(failed(error)),
        };
        let status = file.metadata().map_err(failed)?;
        let (mode, owner) = (status.mode() & 0o7777, status.uid());
        if mode & 0o077 != 0 || owner != nix::unistd::geteuid().as_raw() {
            return Err(Error::Open { path, mode, owner });
        }
        let mut text = Vec::new();
        file.take(KEY_FILE_MAX).read_to_end(&mut text).map_err(failed)?;
        match PrivateKey::from_openssh(&text) {
            Ok(key) if key.algorithm() == Algorithm::Ed25519 && !key.is_encrypted() => Ok(Self(key)),
            Ok(_) => Err(Error::NotAKey { path, why: "another kind of key".to_owned() }),
            Err(error) => Err(Error::NotAKey { path, why: error.to_string() }),
        }
    }

    /// A new key in the folder `keys`, which is made with mode 0700; never in place of one that is there.
    pub fn create(keys: &Path, machine_id: &str) -> Result<Self, Error> {
        let path = keys.join(KEY_FILE);
        let failed = |step| {
            let path = path.clone();
            move |source| Error::File { step, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(keys)
            .map_err(failed("make the folder of"))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Random(error.to_string()))?;
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(pair, principal(machine_id))?;
        let text = key.to_openssh(LineEnding::LF)?;
        let temporary = keys.join(format!(".{KEY_FILE}.{}", uuid::Uuid::now_v7()));
        let written = write_new(&temporary, text.as_bytes());
        // A hard link, unlike a rename, never replaces a key that is there.
        let linked = written.and_then(|()| fs::hard_link(&temporary, &path));
        drop(fs::remove_file(&temporary));
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists(path)),
            Err(error) => return Err(failed("write the signing key")(error)),
        }
        File::open(keys).and_then(|folder| folder.sync_all()).map_err(failed("synchronise the folder of"))?;
        Ok(Self(key))
    }

    /// The public half, whose comment is the principal.
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// The line for `~/.ssh/authorized_keys`-like files.
    pub fn public_line(&self) -> Result<String, Error> {
        Ok(self.public().to_openssh()?)
    }

    /// The line for `ssh-keygen -Y verify -f`.
    pub fn allowed_signers_line(&self) -> Result<String, Error> {
        let line = self.public_line()?;
        let mut words = line.split(' ');
        let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok(format!("{} namespaces=\"{NAMESPACE}\" {kind} {key}", self.public().comment()))
    }

    /// The armored signature of a tag manifest, and of nothing else.
    pub fn sign(&self, tagmanifest: &[u8]) -> Result<String, Error> {
        check(tagmanifest).map_err(Error::NotATagManifest)?;
        Ok(self.0.sign(NAMESPACE, HashAlg::Sha512, tagmanifest)?.to_pem(LineEnding::LF)?)
    }
}

/// `afterimage@<machine id>`.
pub fn principal(machine_id: &str) -> String {
    format!("{NAMESPACE}@{machine_id}")
}

/// Who asks the recorder for a signature may be an attacker: only a tag manifest, whole and in our form, gets one.
fn check(tagmanifest: &[u8]) -> Result<(), &'static str> {
    let expected = [layout::CAPTURE, layout::MANIFEST, layout::BAGIT, layout::BAG_INFO];
    let text = std::str::from_utf8(tagmanifest).map_err(|_| "it is not text")?;
    let mut lines = text.strip_suffix('\n').ok_or("its last line does not end")?.split('\n');
    for name in expected {
        let (digest, seen) =
            lines.next().and_then(|line| line.split_once("  ")).ok_or("a line is missing")?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if seen != name || digest.len() != 64 || !digest.bytes().all(hexadecimal) {
            return Err("a line is not a hash and the name of a tag file");
        }
    }
    lines.next().map_or(Ok(()), |_| Err("it has too many lines"))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::bundle::test::MACHINE;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn tagmanifest() -> String {
        let names = [layout::CAPTURE, layout::MANIFEST, layout::BAGIT, layout::BAG_INFO];
        names.map(|name| format!("{}  {name}\n", "ab".repeat(32))).concat()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = folder();
        let keys = folder.path().join("state/keys");
        assert!(matches!(Key::load(&keys), Err(Error::None(_))));
        let key = Key::load_or_create(&keys, MACHINE).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1, "nothing temporary is left");
        let again = Key::load_or_create(&keys, "another machine").unwrap();
        assert_eq!(again.public_line().unwrap(), key.public_line().unwrap());
        assert!(matches!(Key::create(&keys, MACHINE), Err(Error::Exists(_))));
        let line = key.public_line().unwrap();
        assert!(
            line.starts_with("ssh-ed25519 ") && line.ends_with(&format!(" afterimage@{MACHINE}")),
            "{line}"
        );
        let signer = key.allowed_signers_line().unwrap();
        assert!(signer.starts_with(&format!("afterimage@{MACHINE} namespaces=\"afterimage\" ssh-ed25519 ")));
    }

    #[test]
    fn ssh_keygen_reads_the_key() {
        let folder = folder();
        let key = Key::create(folder.path(), MACHINE).unwrap();
        let output = std::process::Command::new("ssh-keygen")
            .args(["-y", "-f"])
            .arg(folder.path().join(KEY_FILE))
            .output()
            .unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        assert_eq!(line.trim_end(), key.public_line().unwrap(), "{:?}", output.stderr);
    }

    #[test]
    fn a_key_that_others_could_have_or_that_is_none_is_refused_in_words() {
        let folder = folder();
        let path = folder.path().join(KEY_FILE);
        drop(Key::create(folder.path(), MACHINE).unwrap());
        for mode in [0o640, 0o604, 0o620, 0o602] {
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = Key::load_or_create(folder.path(), MACHINE).err().unwrap();
            assert!(error.to_string().contains("is open to others"), "{mode:o}: {error}");
        }
        let moved = folder.path().join("moved");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
        assert!(matches!(Key::load(folder.path()), Err(Error::File { .. })), "a link is not followed");
        fs::remove_file(&path).unwrap();
        for text in [&b""[..], b"not a key", &[0xff; 10_000]] {
            write_new(&path, text).unwrap();
            assert!(matches!(Key::load_or_create(folder.path(), MACHINE), Err(Error::NotAKey { .. })));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn nothing_but_a_tag_manifest_is_signed() {
        let folder = folder();
        let key = Key::create(folder.path(), MACHINE).unwrap();
        let good = tagmanifest();
        assert!(key.sign(good.as_bytes()).unwrap().starts_with("-----BEGIN SSH SIGNATURE-----"));
        for other in [
            String::new(),
            good.trim_end().to_owned(),
            good.clone() + "\n",
            good.clone() + &good,
            good.replacen("ab", "AB", 1),
            good.replacen("ab", "a", 1),
            good.replacen("  ", " ", 1),
            good.replace(layout::CAPTURE, "../capture.json"),
            good.lines().rev().flat_map(|line| [line, "\n"]).collect(),
        ] {
            assert!(matches!(key.sign(other.as_bytes()), Err(Error::NotATagManifest(_))), "{other}");
        }
    }
}
