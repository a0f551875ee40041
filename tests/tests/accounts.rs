//! Who may come in is one table, without a hash of a password; credentials are told by name and hash, and never copied.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::judges::Bag;
use e2e::{story, world};
use serde_json::Value;

#[test]
fn who_may_come_in_is_told_and_secrets_stay_where_they_are() {
    world::inside("who_may_come_in_is_told_and_secrets_stay_where_they_are", || {
        // It is in no program, and in no memory but the test's own, which is not taken.
        let secret = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        let key = plant(&secret)?;
        let mut target = Command::new("sleep").arg("120").spawn()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        // Of the definitions one that takes no settings: /etc is taken whole otherwise, with its hashes.
        let pid = target.id().to_string();
        let sealed = agent.capture(&["--pid", &pid, "--profile", "triage", "--artifacts", "ssh"])?;
        target.kill()?;
        target.wait()?;
        let bag = Bag::extract(&sealed, Path::new("/var/tmp/bag"))?;
        let rows = table(&bag, "data/accounts.jsonl")?;
        let account = |name: &str| {
            let found = rows.iter().find(|row| row["kind"] == "account" && row["name"] == name);
            found.with_context(|| format!("no {name}: {rows:#?}"))
        };
        let toor = account("toor")?;
        ensure!(toor["reasons"][0] == "has the rights of root under another name", "{toor:#}");
        ensure!(toor["password"] == "set" && toor["hashed_by"] == "yescrypt", "{toor:#}");
        for name in ["root", "www-data", "nobody", "wasiluser"] {
            ensure!(account(name)?["reasons"] == serde_json::json!([]), "{:#}", account(name)?);
        }
        ensure!(
            rows.iter()
                .any(|row| row["kind"] == "rule" && row["text"] == "wasiluser ALL=(ALL) NOPASSWD: ALL")
        );
        let told = rows.iter().find(|row| row["kind"] == "key").context("no key")?;
        ensure!(
            told["fingerprint"] == key && told["path"] == "/root/.ssh/authorized_keys",
            "{told:#} is not {key}"
        );

        let credentials = table(&bag, "data/credentials.jsonl")?;
        let one = credentials
            .iter()
            .find(|row| row["path"] == "/root/.aws/credentials")
            .context("no credentials")?;
        let sum = Command::new("sha256sum").arg("/root/.aws/credentials").output()?;
        let told = one["sha256"].as_str().context("no hash")?;
        ensure!(String::from_utf8(sum.stdout)?.starts_with(told), "{one:#}");
        ensure!(!holds(bag.root(), secret.as_bytes())?, "a secret is in the bundle");
        agent.stop()
    });
}

/// An intruder's account, key and rule, and somebody's credentials; the key's fingerprint.
fn plant(secret: &str) -> Result<String> {
    let append = |path: &str, line: &str| -> Result<()> {
        let text = fs::read_to_string(path).unwrap_or_default();
        Ok(fs::write(path, text + line + "\n")?)
    };
    let shadow =
        "root:*:20000:0:99999:7:::\nwww-data:*:20000::::::\nnobody:*:20000::::::\nwasiluser:!:20000::::::";
    append("/etc/shadow", shadow)?;
    append("/etc/shadow", &format!("toor:$y$j9T$salt${secret}:20400:0:99999:7:::"))?;
    append("/etc/passwd", "toor:x:0:0::/root:/bin/bash")?;
    for folder in ["/etc/sudoers.d", "/root/.ssh", "/root/.aws"] {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    append("/etc/sudoers.d/w", "wasiluser ALL=(ALL) NOPASSWD: ALL")?;
    fs::write("/root/.aws/credentials", format!("aws_secret_access_key = {secret}\n"))?;
    let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", "who", "-f", "/var/tmp/key"];
    ensure!(Command::new("ssh-keygen").args(keygen).status()?.success(), "ssh-keygen failed");
    fs::copy("/var/tmp/key.pub", "/root/.ssh/authorized_keys")?;
    fs::remove_file("/var/tmp/key")?;
    let said = Command::new("ssh-keygen").args(["-l", "-f", "/var/tmp/key.pub"]).output()?;
    let said = String::from_utf8(said.stdout)?;
    Ok(said.split(' ').nth(1).context("no fingerprint")?.to_owned())
}

/// Whether a file below `folder` has these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let holds_it = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
        let found = if path.is_dir() { holds(&path, bytes)? } else { holds_it(&fs::read(&path)?, bytes) };
        if found {
            println!("in {}", path.display());
            return Ok(true);
        }
    }
    Ok(false)
}

fn table(bag: &Bag, name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(bag.file(name)).with_context(|| format!("no {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
