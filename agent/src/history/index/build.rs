//! Makes an index from the frames' lines.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, hash_map};
use std::io;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::column::{Ids, Packed, put, put_step};
use super::{Frame, Index, Span, Term};
use crate::event::{BootId, ProcessId};
use crate::history::frame;
use crate::text;

/// What is needed of an event to know whether it is looked for.
#[derive(Deserialize)]
pub struct Line<'a> {
    /// When it happened.
    #[serde(rename = "@timestamp")]
    pub time: Timestamp,
    /// What happened, in one word.
    #[serde(rename = "event.action", borrow)]
    pub action: Cow<'a, str>,
    /// Whom it concerns.
    #[serde(rename = "process.entity_id")]
    pub process: ProcessId,
}

/// What of an event goes into the index.
#[derive(Default, Deserialize)]
struct Words<'a> {
    #[serde(rename = "process.parent.entity_id", default)]
    parent: Option<ProcessId>,
    #[serde(rename = "process.name", borrow, default)]
    name: Cow<'a, str>,
    #[serde(rename = "process.executable", borrow, default)]
    executable: Cow<'a, str>,
    #[serde(rename = "afterimage.filename", borrow, default)]
    filename: Cow<'a, str>,
    #[serde(rename = "process.args", borrow, default)]
    args: Vec<Cow<'a, str>>,
    #[serde(rename = "afterimage.cgroup", borrow, default)]
    cgroup: Cow<'a, str>,
    #[serde(rename = "user.id", default)]
    uid: Option<u32>,
    #[serde(rename = "destination.ip", default)]
    remote: Option<IpAddr>,
}

impl<'a> Line<'a> {
    /// `None` for what is no event.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Whether it is of a process, and not of the agent's own doings.
    fn is_of_process(&self) -> bool {
        !matches!(&*self.action, "loss" | "gap" | "agent")
    }
}

impl Words<'_> {
    fn terms(&self, of_program: bool) -> impl Iterator<Item = Term> {
        let bytes = |text: &str| text::unescape(text).unwrap_or_default();
        let mut terms = Vec::new();
        terms.extend(self.remote.map(Term::remote));
        if of_program {
            let first = self.args.first().map(|first| bytes(first)).unwrap_or_default();
            let names = [bytes(&self.name), bytes(&self.executable), bytes(&self.filename), first];
            for name in names.iter().filter(|name| !name.is_empty()) {
                terms.extend([Term::name(name), Term::command(name)]);
            }
            terms.extend(self.uid.map(Term::user));
            terms.extend(Term::containers(&bytes(&self.cgroup)));
        }
        terms.into_iter()
    }
}

/// A segment is of one boot; a damaged one that names more than these has no index.
const BOOTS_MAX: usize = 16;

/// Takes in the frames of one segment.
#[derive(Default)]
pub struct Builder {
    frames: Vec<Frame>,
    offset: u64,
    boots: Vec<BootId>,
    parents: Vec<ProcessId>,
    places: HashMap<ProcessId, u64>,
    known: HashMap<ProcessId, usize>,
    births: Vec<Entry>,
    guests: Vec<Vec<ProcessId>>,
    terms: Vec<BTreeSet<Term>>,
}

struct Entry {
    id: ProcessId,
    parent: Option<ProcessId>,
    frame: usize,
}

impl Builder {
    /// Takes in the next frame: its compressed bytes and its plain ones.
    pub fn frame(&mut self, packed: &[u8], plain: &[u8]) {
        let number = self.frames.len();
        let mut span: Option<(Timestamp, Timestamp)> = None;
        let mut events = 0_u32;
        let mut guests = HashSet::new();
        let mut terms = BTreeSet::new();
        for text in frame::lines(plain) {
            let Some(line) = Line::parse(text) else { continue };
            events = events.saturating_add(1);
            let (first, last) = span.unwrap_or((line.time, line.time));
            span = Some((first.min(line.time), last.max(line.time)));
            if line.is_of_process() {
                let words: Words<'_> = serde_json::from_slice(text).unwrap_or_default();
                self.process(line.process, words.parent, number, &mut guests);
                terms.extend(words.terms(matches!(&*line.action, "exec" | "running")));
            }
        }
        let check = packed.last_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
        let bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        let (first, last) = span.unwrap_or_default();
        self.frames.push(Frame { offset: self.offset, bytes, check, events, first, last });
        self.offset = self.offset.saturating_add(u64::from(bytes));
        let mut guests: Vec<_> = guests.into_iter().collect();
        guests.sort_unstable();
        self.guests.push(guests);
        self.terms.push(terms);
    }

    fn boot(&mut self, boot: BootId) {
        if self.boots.len() <= BOOTS_MAX && !self.boots.contains(&boot) {
            self.boots.push(boot);
        }
    }

    fn process(
        &mut self,
        id: ProcessId,
        parent: Option<ProcessId>,
        frame: usize,
        guests: &mut HashSet<ProcessId>,
    ) {
        self.boot(id.boot);
        let Some(&at) = self.known.get(&id) else {
            self.known.insert(id, self.births.len());
            self.births.push(Entry { id, parent, frame });
            return;
        };
        if let Some(birth) = self.births.get_mut(at) {
            birth.parent = birth.parent.or(parent);
            if birth.frame != frame {
                guests.insert(id);
            }
        }
    }

    /// The index of all that was taken in.
    pub fn finish(mut self) -> io::Result<Index> {
        let parents: Vec<_> = self.births.iter().filter_map(|birth| birth.parent).collect();
        for parent in parents {
            self.boot(parent.boot);
            let next = u64::try_from(self.parents.len()).unwrap_or_default();
            if let hash_map::Entry::Vacant(place) = self.places.entry(parent) {
                place.insert(next);
                self.parents.push(parent);
            }
        }
        if self.boots.len() > BOOTS_MAX {
            return Err(io::Error::other("it names more boots than a segment can be of"));
        }
        let mut span = Span::EMPTY;
        for birth in &self.births {
            span.include(&birth.id);
        }
        Ok(Index {
            span,
            births: Packed::pack(&self.births(), &self.boots)?,
            guests: Packed::pack(&self.guests(), &self.boots)?,
            terms: Packed::pack(&self.terms(), &[])?,
            segment_bytes: self.offset,
            parents: self.parents,
            frames: self.frames,
        })
    }

    /// Of each birth the frame's step and the process, then its parent's place: 0 for none, or the step to it.
    fn births(&self) -> Vec<u8> {
        let (mut frames, mut parents) = (Vec::new(), Vec::new());
        let (mut ids, mut list) = (Ids::of(&self.boots), Vec::new());
        let (mut frame, mut place) = (0, 0);
        for birth in &self.births {
            let number = u64::try_from(birth.frame).unwrap_or_default();
            put_step(&mut frames, frame, number);
            frame = number;
            ids.put(&mut list, &birth.id);
            let next = birth.parent.and_then(|parent| self.places.get(&parent)).map_or(0, |place| place + 1);
            put_step(&mut parents, place, next);
            place = next;
        }
        let mut column = Vec::new();
        for part in [frames, parents, list] {
            put(&mut column, u64::try_from(part.len()).unwrap_or_default());
            column.extend_from_slice(&part);
        }
        column
    }

    fn guests(&self) -> Vec<u8> {
        let mut column = Vec::new();
        for guests in &self.guests {
            put(&mut column, u64::try_from(guests.len()).unwrap_or_default());
            let mut ids = Ids::of(&self.boots);
            for id in guests {
                ids.put(&mut column, id);
            }
        }
        column
    }

    fn terms(&self) -> Vec<u8> {
        let mut column = Vec::new();
        for terms in &self.terms {
            put(&mut column, u64::try_from(terms.len()).unwrap_or_default());
            let mut last = 0;
            for term in terms {
                put(&mut column, u64::from(term.0.wrapping_sub(last)));
                last = term.0;
            }
        }
        column
    }
}
