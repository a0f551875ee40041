//! Bundles that were changed or torn: what we say, and what the others say.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::judges::Bag;
use e2e::{story, world};

const UNREADABLE: i32 = 1;
const TAMPERED: i32 = 3;
const TORN: i32 = 4;
const UNTRUSTED: i32 = 5;
/// Flips are spread over the file; a prime number of them hits all kinds of places.
const FLIPS: usize = 101;

#[test]
fn every_flip_that_matters_is_found_and_a_torn_bundle_is_torn() {
    world::inside("every_flip_that_matters_is_found_and_a_torn_bundle_is_torn", || {
        let program = story::program();
        let bundle = sealed(&program)?;
        ensure!(verdict(&program, &bundle)? == Some(0), "an untouched bundle is not good");
        let signers = Path::new("/tmp/allowed_signers");
        fs::write(signers, agent::succeed(&program, &["key", "public", "--allowed-signers"])?)?;
        let good = Bag::extract(&bundle, Path::new("/var/tmp/good"))?;
        good.is_good(signers, &story::principal()?)?;

        let bytes = fs::read(&bundle)?;
        let changed = Path::new("/var/tmp/changed.tar.zst");
        for number in 0..FLIPS {
            let mut flipped = bytes.clone();
            let place = number * (bytes.len() - 1) / (FLIPS - 1);
            flipped[place] ^= 1 << (number % 8);
            fs::write(changed, &flipped)?;
            flip(&program, changed, place, &good, signers)
                .with_context(|| format!("bit {} of byte {place}", number % 8))?;
        }
        for part in 1..20 {
            let torn = &bytes[..bytes.len() * part / 20];
            fs::write(changed, torn)?;
            let verdict = verdict(&program, changed)?;
            ensure!(verdict == Some(TORN), "cut to {} of {}: {verdict:?}", torn.len(), bytes.len());
        }
        Ok(())
    });
}

#[test]
fn a_stranger_s_signature_is_not_trusted() {
    world::inside("a_stranger_s_signature_is_not_trusted", || {
        let program = story::program();
        let bundle = sealed(&program)?;
        let kept = Path::new("/var/tmp/bundle.tar.zst");
        fs::copy(&bundle, kept)?;
        fs::remove_dir_all("/var/lib/afterimage/keys")?;
        agent::succeed(&program, &["key", "new"])?;
        let verdict = verdict(&program, kept)?;
        ensure!(verdict == Some(UNTRUSTED), "{verdict:?}");
        Ok(())
    });
}

/// Either both we and they find it, or every extracted byte is equal.
fn flip(program: &Path, changed: &Path, place: usize, good: &Bag, signers: &Path) -> Result<()> {
    let ours = verdict(program, changed)?;
    let folder = Path::new("/var/tmp/flipped");
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let theirs = Bag::extract(changed, folder).and_then(|bag| {
        bag.is_good(signers, &story::principal()?)?;
        Ok(bag)
    });
    match theirs {
        Ok(bag) => {
            ensure!(equal(good.root(), bag.root())?, "nobody of them finds it, and what is extracted differs")
        }
        // Without its first four bytes it is no bundle at all: that is said otherwise.
        Err(_) => ensure!(
            ours == Some(if place < 4 { UNREADABLE } else { TAMPERED }),
            "they find it, and we say {ours:?}"
        ),
    }
    Ok(())
}

fn equal(one: &Path, other: &Path) -> Result<bool> {
    let diff = std::process::Command::new("diff").args(["-rq"]).arg(one).arg(other).output()?;
    Ok(diff.status.success())
}

fn verdict(program: &Path, bundle: &Path) -> Result<Option<i32>> {
    let path = bundle.to_str().context("an odd path")?;
    Ok(agent::ask(program, &["bundle", "verify", path])?.status.code())
}

/// A small bundle: a capture of this test by a running agent.
fn sealed(program: &Path) -> Result<PathBuf> {
    let agent = Agent::start(program, Path::new("/tmp/afterimage.log"))?;
    let worker = e2e::living::Worker::start()?;
    let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string(), "--profile", "volatile"])?;
    agent.stop()?;
    Ok(bundle)
}
