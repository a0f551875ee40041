//! Reads the tar in the frames: members one after the other, nothing but what FORMAT.md allows.

use std::collections::HashSet;
use std::io::{self, Read};

use uuid::Uuid;

use super::frame::{Fault, Frames};
use super::layout::{self, BLOCK, MEMBERS_MAX, NAME_MAX, TAG_MAX, TAGS};

/// One member of the tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name without the id.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// File offset of the frame that holds the header.
    pub frame: u64,
    /// Bytes of content from the beginning of that frame to the member's first byte.
    pub skip: u64,
}

impl Member {
    /// Whether it is a tag file, and which.
    pub fn tag(&self) -> Option<usize> {
        TAGS.iter().position(|tag| *tag == self.name)
    }
}

/// The members of a bundle, in order.
pub struct Members<R> {
    frames: Frames<R>,
    id: Option<Uuid>,
    names: HashSet<String>,
    /// Folders that the names imply.
    folders: HashSet<String>,
    /// Rest of the current member, and the zeros after it.
    rest: u64,
    padding: usize,
}

impl<R: Read> Members<R> {
    /// Reads from `frames`, which stand at the beginning of the file.
    pub fn new(frames: Frames<R>) -> Self {
        Self { frames, id: None, names: HashSet::new(), folders: HashSet::new(), rest: 0, padding: 0 }
    }

    /// The id in the names, once a member was seen.
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// The frames below.
    pub fn frames(&self) -> &Frames<R> {
        &self.frames
    }

    /// The next member; what is left of the current one is passed over. `None` after the tar's end and the trailer.
    pub fn next_member(&mut self) -> Result<Option<Member>, Fault> {
        self.end_member()?;
        let (frame, before) = self.frames.position()?;
        if self.frames.trailer().is_some() {
            return Err(Fault::Tampered("the tar has no end".to_owned()));
        }
        let block = self.block()?;
        if block.iter().all(|&byte| byte == 0) {
            let mut count = BLOCK;
            while count > 0 {
                count = count.saturating_sub(self.zeros(count, "at the tar's end")?);
            }
            self.frames.position()?;
            if self.frames.trailer().is_none() {
                return Err(Fault::Tampered("something follows the tar's end".to_owned()));
            }
            return Ok(None);
        }
        let (seen, path, size) = self.read_header(&block)?;
        let (id, name) = split(&path).ok_or_else(|| refuse(&path, "is not a name a bundle may hold"))?;
        if *self.id.get_or_insert(id) != id {
            return Err(refuse(&path, "belongs to another bundle"));
        }
        if layout::header(id, name, size) != seen {
            return Err(refuse(&path, "has a header that is not canonical"));
        }
        self.remember(name)?;
        self.rest = size;
        self.padding = layout::padding(size);
        let skip = before.saturating_add(u64::try_from(seen.len()).unwrap_or(u64::MAX));
        Ok(Some(Member { name: name.to_owned(), size, frame, skip }))
    }

    /// Passes over what is left of the current member, and the zeros after it.
    pub fn end_member(&mut self) -> Result<(), Fault> {
        while !self.data()?.is_empty() {}
        while self.padding > 0 {
            let count = self.zeros(self.padding, "after a member")?;
            self.padding = self.padding.saturating_sub(count);
        }
        Ok(())
    }

    /// Bytes of the current member that were not read yet, and zeros after it.
    pub fn missing(&self) -> (u64, usize) {
        (self.rest, self.padding)
    }

    /// The next bytes of the current member; empty at its end.
    pub fn data(&mut self) -> Result<&[u8], Fault> {
        if self.rest == 0 {
            return Ok(&[]);
        }
        let bytes = self.frames.take(self.rest)?;
        if bytes.is_empty() {
            return Err(Fault::Tampered("the tar ends within a member".to_owned()));
        }
        self.rest = self.rest.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes)
    }

    /// The header as it stands in the file, and the name and size in it.
    fn read_header(&mut self, first: &[u8; BLOCK]) -> Result<(Vec<u8>, Vec<u8>, u64), Fault> {
        let mut seen = first.to_vec();
        let mut header = tar::Header::from_byte_slice(first).clone();
        let mut path = None;
        if header.entry_type() == tar::EntryType::GNULongName {
            let length = size_of(&header)?;
            // The id, the slash and the zero that ends it.
            let fits = usize::try_from(length).ok().filter(|length| (1..=NAME_MAX + 38).contains(length));
            let length = fits.ok_or_else(|| Fault::Tampered("a name is too long".to_owned()))?;
            let mut name = Vec::new();
            while name.len() < length {
                name.extend(self.block()?);
            }
            seen.extend_from_slice(&name);
            name.truncate(length.saturating_sub(1));
            path = Some(name);
            let block = self.block()?;
            seen.extend_from_slice(&block);
            header = tar::Header::from_byte_slice(&block).clone();
        }
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        if header.entry_type() != tar::EntryType::Regular {
            return Err(refuse(&path, "is not a regular file"));
        }
        let size = size_of(&header)?;
        Ok((seen, path, size))
    }

    fn remember(&mut self, name: &str) -> Result<(), Fault> {
        if self.names.len() >= MEMBERS_MAX {
            return Err(Fault::Tampered("there are too many members".to_owned()));
        }
        let mut clash = self.folders.contains(name);
        for (at, _) in name.match_indices('/') {
            let folder = name.get(..at).unwrap_or_default();
            clash |= self.names.contains(folder);
            if !self.folders.contains(folder) {
                self.folders.insert(folder.to_owned());
            }
        }
        if clash || !self.names.insert(name.to_owned()) {
            return Err(refuse(name.as_bytes(), "is there twice, or is another member's folder"));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        let mut got = 0;
        while let Some(rest) = block.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.frames.read(rest)? {
                0 => return Err(Fault::Tampered("the tar ends too early".to_owned())),
                count => got = got.saturating_add(count),
            }
        }
        Ok(block)
    }

    /// Takes some zeros, `count` at most.
    fn zeros(&mut self, count: usize, place: &str) -> Result<usize, Fault> {
        let bytes = self.frames.take(u64::try_from(count).unwrap_or(0))?;
        if bytes.is_empty() {
            return Err(Fault::Tampered("the tar ends too early".to_owned()));
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(Fault::Tampered(format!("bytes that are not zero {place}")));
        }
        Ok(bytes.len())
    }
}

/// The data of the current member.
impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let limit = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let count =
            self.frames.read(buffer.get_mut(..limit).unwrap_or_default()).map_err(io::Error::other)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.rest = self.rest.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

fn size_of(header: &tar::Header) -> Result<u64, Fault> {
    header.entry_size().map_err(|_| Fault::Tampered("a tar header has no size".to_owned()))
}

/// The id, and the name without it, if both are what the format allows.
fn split(path: &[u8]) -> Option<(Uuid, &str)> {
    let (id, name) = std::str::from_utf8(path).ok()?.split_once('/')?;
    let uuid = Uuid::parse_str(id).ok().filter(|uuid| uuid.hyphenated().to_string() == id)?;
    (TAGS.contains(&name) || layout::is_payload_name(name)).then_some((uuid, name))
}

fn refuse(path: &[u8], why: &str) -> Fault {
    Fault::Tampered(format!("the member {} {why}", crate::text::escape(path)))
}

/// Reads the current member whole, at most [`TAG_MAX`] bytes.
pub fn read_tag<R: Read>(members: &mut Members<R>, member: &Member) -> Result<Vec<u8>, Fault> {
    if member.size > TAG_MAX {
        return Err(refuse(member.name.as_bytes(), "is too large"));
    }
    let mut bytes = Vec::new();
    loop {
        let more = members.data()?;
        if more.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(more);
    }
}
