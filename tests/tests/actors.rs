//! The drill's story is real before any agent watches it, and on a host that has only wget. The story under the agent
//! (story.rs) is played where curl comes first.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use e2e::drill::{self, CALLBACKS, FLASHES, Moment};
use e2e::net::VICTIM;
use e2e::world::{self, SERVICE_HOME};

#[test]
fn the_intrusion_happens_and_leaves_nothing() {
    world::inside("the_intrusion_happens_and_leaves_nothing", || {
        let mut moments = Vec::new();
        let record = drill::play_with(&tools_without_curl()?, |moment| {
            moments.push(moment);
            if moment == Moment::Working {
                ensure!(fs::exists(format!("{SERVICE_HOME}/.cache/.sys/config.json"))?, "no hidden file");
            }
            Ok(())
        })?;
        ensure!(moments == [Moment::Ready, Moment::Working, Moment::Gone]);
        ensure!(record.service.comm == "next-server");
        ensure!(record.x.exe == format!("{SERVICE_HOME}/dashboard/x"), "{record:?}");
        ensure!(record.vim.comm == "vim");
        ensure!(record.flashes.len() == FLASHES, "the short step failed: {:?}", record.flashes);
        ensure!(record.callbacks.len() == CALLBACKS, "{:?}", record.callbacks);
        ensure!(record.callbacks.iter().all(|seen| seen.ip == VICTIM && seen.pid == record.vim.pid));
        let apart = record.callbacks.windows(2).map(|pair| pair[1].time - pair[0].time);
        ensure!(apart.min() >= Some(400_000_000), "call-backs come every 500 ms: {:?}", record.callbacks);
        let left: Vec<_> = fs::read_dir(format!("{SERVICE_HOME}/dashboard"))?.flatten().collect();
        ensure!(left.is_empty(), "{left:?}");
        ensure!(!fs::exists(format!("{SERVICE_HOME}/.cache/.sys"))?);
        ensure!(record.sha256["x"] != record.sha256["vim"]);
        Ok(())
    });
}

/// A PATH with what the intruder's shell needs, wget among it, and no curl.
fn tools_without_curl() -> Result<String> {
    const FOLDER: &str = "/srv/tools";
    fs::create_dir_all(FOLDER)?;
    for tool in ["sh", "wget", "chmod", "seq", "ls", "rm"] {
        ensure!(fs::exists(format!("/usr/bin/{tool}"))?, "this host has no {tool}");
        symlink(format!("/usr/bin/{tool}"), format!("{FOLDER}/{tool}"))?;
    }
    Ok(FOLDER.to_owned())
}
