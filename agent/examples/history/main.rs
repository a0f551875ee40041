//! What the history takes on disk and in memory, and how long questions to it take, for a load that is made up
//! (`cargo run --release --example history -- LIVES`), or for a folder of recorded segments (`-- FOLDER`).

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark speaks to a person, and ends where it cannot go on"
)]

mod load;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use afterimage::capture::recall::{Question, recall};
use afterimage::event::{Action, Event, ProcessId};
use afterimage::history::query::Library;
use afterimage::history::tree::{Bounds, Tree};
use afterimage::history::writer::Writer;
use afterimage::history::{compact, segment};
use afterimage::trigger::{Target, Trigger};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

/// Lives a second of the load.
const RATE: u64 = 1000;

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "5400000".to_owned());
    let Ok(lives) = argument.parse::<u64>() else { return recorded(Path::new(&argument)) };
    let folder = tempfile::tempdir()?;
    let chosen = write(folder.path(), lives)?;
    compact_and_say(folder.path(), lives)?;
    restore(folder.path())?;
    let middle = *chosen.get(1).context("no process was chosen")?;
    trigger(folder.path(), middle)?;
    ask(folder.path(), chosen)
}

/// Writes the load; the processes that will be asked for: early, late, of a shell and of a tool.
fn write(folder: &Path, lives: u64) -> Result<Vec<ProcessId>> {
    let mut load = load::Load::new(RATE);
    let mut writer = Writer::new(folder)?;
    let mut tree = Tree::new(Bounds::RECORDER);
    let mut chosen = Vec::new();
    let (begun, mut first) = (Instant::now(), None);
    let before = resident()?;
    for number in 1..=lives {
        let process = load.next(&mut |event: Event| {
            // The writer's clock is that of the load, so that frames are as they would be.
            let start = *first.get_or_insert(event.time);
            let now = begun + Duration::try_from(event.time.duration_since(start)).unwrap_or_default();
            tree.apply(&event);
            writer.append(&event, now).unwrap();
        });
        // A shell is born with every 40th life.
        if [1, lives / 80 * 40 + 1, lives / 80 * 40 + 7, lives - lives % 40 - 39].contains(&number) {
            chosen.push(process);
        }
        if number == 1_000_000.min(lives) {
            println!(
                "the recorder's tree after {number} lives: {} processes, {} KiB reckoned; {} KiB resident, with the writer",
                tree.len(),
                tree.bytes() >> 10,
                resident()?.saturating_sub(before) >> 10
            );
        }
    }
    writer.close().map_err(|(_, failure)| failure)?;
    println!("{lives} lives written in {:.1?}", begun.elapsed());
    Ok(chosen)
}

/// Compacts everything and says what it takes.
fn compact_and_say(folder: &Path, lives: u64) -> Result<()> {
    let begun = Instant::now();
    let done = compact::all(folder)?;
    let took = begun.elapsed();
    let index = |segment: &segment::Segment| segment.index_path().metadata().map_or(0, |file| file.len());
    let index: u64 = segment::list(folder)?.iter().map(index).sum();
    let per_life = |bytes: u64| bytes as f64 / lives as f64;
    println!("as written     {:>5.1} bytes per life", per_life(done.before));
    println!(
        "compacted      {:>5.1} bytes per life, {:.1} of them index; {:.1} MiB in {} segments, in {took:.1?}",
        per_life(done.after),
        per_life(index),
        done.after as f64 / f64::from(1 << 20),
        done.segments,
    );
    Ok(())
}

/// Asks for the subtree of each of `chosen`, each time from the beginning.
fn ask(folder: &Path, chosen: Vec<ProcessId>) -> Result<()> {
    for process in chosen {
        let begun = Instant::now();
        let library = Library::open(folder, Timestamp::MIN)?;
        let opened = begun.elapsed();
        let roots = HashSet::from([process]);
        let family = library.descendants(&roots);
        let line = library.ancestors(&roots);
        let found = begun.elapsed();
        let wanted: HashSet<_> = family.iter().chain(line.values()).copied().collect();
        let places = library.of(&wanted);
        let mut tree = Tree::new(Bounds::COLLECTOR);
        for place in &places {
            library.read(*place, &|line| wanted.contains(&line.process), &mut |event| tree.apply(&event))?;
        }
        println!(
            "subtree of {:<16} {:>4} processes, {:>2} ancestors, {:>3} frames read: {:.0?} (indexes {opened:.0?}, lineage {:.0?})",
            process.short(),
            tree.subtree(&process).len(),
            line.len(),
            places.len(),
            begun.elapsed(),
            found.saturating_sub(opened),
        );
        ensure!(tree.subtree(&process).len() == family.len(), "the frames do not hold what the indexes say");
    }
    Ok(())
}

/// What a collector does for a late trigger that says no more than a pid.
fn trigger(folder: &Path, process: ProcessId) -> Result<()> {
    let target = Target { pid: Some(process.pid), ..Target::default() };
    let trigger = Trigger { target, ..Trigger::default() };
    let (since, now) = (Timestamp::MIN, Timestamp::now());
    let question = Question { folder, trigger: &trigger, targets: &[], running: &[], since, now };
    let begun = Instant::now();
    let recalled = recall(&question, begun + Duration::from_secs(50))?;
    let took = begun.elapsed();
    let family = recalled.tree.subtree(&process).len();
    ensure!(recalled.targets.contains(&process), "the trigger's process was not found");
    println!(
        "a late trigger for {}: {family} of its family, {} processes in all: {took:.0?}",
        process.short(),
        recalled.tree.len()
    );
    Ok(())
}

/// What a recorder that starts reads back.
fn restore(folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let (mut tree, mut events) = (Tree::new(Bounds::RECORDER), 0);
    segment::read_back(&segment::list(folder)?, &mut |event| {
        tree.apply(&event);
        events += 1;
        events < 60_000
    })?;
    println!("a start reads {events} events back in {:.0?}: {} processes", begun.elapsed(), tree.len());
    Ok(())
}

/// The same of segments that a recorder wrote; they are copied first.
fn recorded(from: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut lives, mut events) = (0, 0);
    for segment in segment::list(from)? {
        let name = segment.path.file_name().context("a segment has a name")?;
        std::fs::copy(&segment.path, folder.path().join(name))?;
        segment::read_file(&segment.path, &mut |event| {
            events += 1;
            lives += u64::from(matches!(event.action, Action::Exit(_)));
        })?;
    }
    println!("{lives} lives, {events} events");
    compact_and_say(folder.path(), lives.max(1))
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("no resident pages")?.parse()?;
    Ok(pages * 4096)
}
