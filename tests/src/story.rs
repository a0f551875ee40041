//! The whole story: the drill under the agent, the alert that comes too late, the bundle, its judges.
//!
//! The tests and the demo tell the same one; the demo prints what is said.

mod compare;
pub mod door;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::agent::{self, Agent};
use crate::drill::{self, Moment, Record};
use crate::judges::Bag;
use crate::world::{BIN, OUT};

pub use self::compare::Evidence;

/// What the story leaves in [`OUT`].
pub struct Told {
    /// What really happened.
    pub record: Record,
    /// The bundle's file.
    pub bundle: PathBuf,
    /// Who may sign, for `ssh-keygen -Y verify`.
    pub allowed_signers: PathBuf,
    /// The bundle, extracted.
    pub bag: Bag,
    /// Its signer.
    pub principal: String,
}

/// The agent in the world.
pub fn program() -> PathBuf {
    Path::new(BIN).join("afterimage")
}

/// Tells it, and fails where the bundle does not hold what happened.
pub fn tell(say: impl Fn(&str)) -> Result<Told> {
    let (program, log) = (program(), Path::new("/tmp/afterimage.log"));
    fs::create_dir_all("/etc/afterimage")?;
    let mut agent = Some(Agent::start(&program, log)?);
    say("afterimage watches. A web service runs as an unprivileged user.");

    let record = drill::play(|moment| {
        match moment {
            Moment::Ready => say("The attacker sends one request."),
            Moment::Working => say("A shell has fetched `x` and `vim`; `vim` has called back every 500 ms."),
            Moment::Gone => {
                say("Every process has been killed, every file deleted. The agent is restarted.");
                agent.take().context("no agent")?.stop()?;
                agent = Some(Agent::start(&program, log)?);
            }
        }
        Ok(())
    })?;
    let agent = agent.context("no agent")?;

    say("Only now does Falco's alert come in, over HTTP, without a pid in it.");
    let door = door::Door::open(&program)?;
    let id = door.alert(&door::alert(&record)?)?;
    door.await_sealed(&id).with_context(|| format!("the agent's log:\n{}", agent.log()))?;
    let bundle = Path::new(OUT).join(format!("{id}.tar.zst"));
    door.download(&id, &bundle)?;
    say("The bundle is sealed and has been downloaded.");

    let allowed_signers = Path::new(OUT).join("allowed_signers");
    fs::write(&allowed_signers, agent::succeed(&program, &["key", "public", "--allowed-signers"])?)?;
    let principal = principal()?;
    agent::succeed(&program, &["bundle", "verify", bundle.to_str().context("an odd path")?])?;
    let bag = Bag::extract(&bundle, Path::new("/var/tmp/bag"))?;
    bag.is_good(&allowed_signers, &principal)?;
    say("Verified by afterimage, and by tools that are not ours: tar, sha256sum, bagit.py, ssh-keygen.");

    for sentence in Evidence::of(&bag)?.compare(&record)? {
        say(&format!("  in the bundle: {sentence}"));
    }
    agent.stop()?;
    Ok(Told { record, bundle, allowed_signers, bag, principal })
}

/// Whom the signatures of this world's agent name.
pub fn principal() -> Result<String> {
    Ok(format!("afterimage@{}", fs::read_to_string("/etc/machine-id")?.trim()))
}
