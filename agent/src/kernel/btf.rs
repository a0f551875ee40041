//! The kernel's own description of its types, read strictly: an offset that is wrong would be believed for years.
//!
//! The format is the kernel's Documentation/bpf/btf.rst. Nothing is believed that is out of bounds, a bitfield, or
//! described twice with different results.

use std::collections::HashMap;

/// The largest we read; distributions' kernels have 4 to 8 MB.
pub(super) const LARGEST: u64 = 64 << 20;
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// Modifiers and anonymous members nest at most this deep.
const DEEPEST: u32 = 16;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why a text of types, or a path in it, cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no BTF of this machine's byte order.
    #[error("not BTF (type information): {0}")]
    Format(&'static str),
    /// No such structure or member.
    #[error("`{0}` does not exist")]
    Missing(String),
    /// A member of some bits.
    #[error("`{0}` is a bitfield")]
    Bitfield(String),
    /// Structures of one name that do not agree.
    #[error("`{0}` is described more than once, differently")]
    Ambiguous(String),
    /// A way through something that has no members, or too deep.
    #[error("`{0}` cannot be followed")]
    Broken(String),
}

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes from the beginning of the structure.
    pub(super) offset: u32,
    /// Bytes; 0 for an array without a length.
    pub(super) size: u32,
}

/// Types, by their number.
pub(super) struct Btf<'a> {
    data: &'a [u8],
    strings: &'a [u8],
    /// Where each type's record begins; type n is at n - 1.
    types: Vec<usize>,
    /// Structures by name.
    structures: HashMap<&'a [u8], Vec<u32>>,
}

#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    members: u32,
    flag: bool,
    /// The size, or the type it stands for.
    detail: u32,
}

impl<'a> Btf<'a> {
    /// Reads the header and walks all records once.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let magic = data.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes));
        if magic != Some(MAGIC) {
            return Err(Error::Format("the first bytes are not those of BTF in this machine's byte order"));
        }
        let part = |offset_at: usize| {
            let header = usize::try_from(word(data, 4)?).ok().filter(|&length| length >= HEADER)?;
            let start = header.checked_add(usize::try_from(word(data, offset_at)?).ok()?)?;
            let length = usize::try_from(word(data, offset_at.checked_add(4)?)?).ok()?;
            data.get(start..start.checked_add(length)?)
        };
        let records = part(8).ok_or(Error::Format("the types lie outside the file"))?;
        let strings = part(16).ok_or(Error::Format("the names lie outside the file"))?;
        let mut btf = Self { data: records, strings, types: Vec::new(), structures: HashMap::new() };
        btf.index().ok_or(Error::Format("a type's record is cut"))?;
        Ok(btf)
    }

    fn index(&mut self) -> Option<()> {
        let mut at = 0;
        while at < self.data.len() {
            let found = self.record(at)?;
            at = at.checked_add(found.length()?)?;
            if at > self.data.len() {
                return None;
            }
            self.types.push(found.at);
            if found.kind == kind::STRUCT && found.name != 0 {
                let id = u32::try_from(self.types.len()).ok()?;
                self.structures.entry(self.name(found.name)?).or_default().push(id);
            }
        }
        Some(())
    }

    /// The number of the function `name`, for programs that are attached to one.
    pub(super) fn function(&self, name: &str) -> Result<u32, Error> {
        self.named(kind::FUNC, name)
    }

    /// Whether the kernel has the tracepoint `name`, for programs that are attached to one.
    pub(super) fn has_tracepoint(&self, name: &str) -> bool {
        self.named(kind::TYPEDEF, &format!("btf_trace_{name}")).is_ok()
    }

    fn named(&self, kind: u32, name: &str) -> Result<u32, Error> {
        let is_it = |&at: &usize| {
            self.record(at)
                .is_some_and(|record| record.kind == kind && self.name(record.name) == Some(name.as_bytes()))
        };
        // Numbers begin at 1; 0 is `void`.
        let found = self.types.iter().position(is_it).and_then(|index| u32::try_from(index + 1).ok());
        found.ok_or_else(|| Error::Missing(name.to_owned()))
    }

    /// How many parameters the function `name` takes.
    pub(super) fn parameters(&self, name: &str) -> Result<u32, Error> {
        let function = self.bare(self.function(name)?, DEEPEST);
        let prototype = function.and_then(|function| self.bare(function.detail, DEEPEST));
        let prototype = prototype.filter(|found| found.kind == kind::FUNC_PROTO);
        prototype.map(|found| found.members).ok_or_else(|| Error::Broken(name.to_owned()))
    }

    /// Where `structure.member.member` lies. A path of one name gives the structure's own size.
    pub(super) fn resolve(&self, path: &str) -> Result<Found, Error> {
        let (structure, members) =
            path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let missing = || Error::Missing(path.to_owned());
        let candidates = self.structures.get(structure.as_bytes()).ok_or_else(missing)?;
        let mut found = candidates.iter().map(|&id| self.walk(id, members, path));
        let first = found.next().ok_or_else(missing)?;
        if found.all(|other| other == first) { first } else { Err(Error::Ambiguous(path.to_owned())) }
    }

    fn walk(&self, id: u32, members: Option<&str>, path: &str) -> Result<Found, Error> {
        let broken = || Error::Broken(path.to_owned());
        let mut here = Found { offset: 0, size: self.size(id, DEEPEST).ok_or_else(broken)? };
        let mut id = id;
        for member in members.into_iter().flat_map(|members| members.split('.')) {
            let step = self.member(id, member.as_bytes(), DEEPEST).map_err(|refusal| match refusal {
                Refusal::Missing => Error::Missing(path.to_owned()),
                Refusal::Bitfield => Error::Bitfield(path.to_owned()),
                Refusal::Broken => broken(),
            })?;
            let size = self.size(step.id, DEEPEST).ok_or_else(broken)?;
            here = Found { offset: here.offset.checked_add(step.offset).ok_or_else(broken)?, size };
            id = step.id;
        }
        Ok(here)
    }

    /// The member `name` of a structure or union, also inside its anonymous members.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Result<Step, Refusal> {
        let depth = depth.checked_sub(1).ok_or(Refusal::Broken)?;
        let holder = self.bare(id, DEEPEST).ok_or(Refusal::Broken)?;
        if !matches!(holder.kind, kind::STRUCT | kind::UNION) {
            return Err(Refusal::Broken);
        }
        for index in 0..holder.members {
            let (name_at, id, bits, width) = self.member_record(holder, index).ok_or(Refusal::Broken)?;
            let anonymous = name_at == 0;
            if !anonymous && self.name(name_at) != Some(name) {
                continue;
            }
            if anonymous && !self.is_holder(id) {
                continue; // padding bits
            }
            let inside = if anonymous {
                match self.member(id, name, depth) {
                    Err(Refusal::Missing) => continue,
                    found => found?,
                }
            } else {
                Step { id, offset: 0 }
            };
            if width != 0 || bits % 8 != 0 || (!anonymous && self.is_narrow(id)) {
                return Err(Refusal::Bitfield);
            }
            let offset = (bits / 8).checked_add(inside.offset).ok_or(Refusal::Broken)?;
            return Ok(Step { id: inside.id, offset });
        }
        Err(Refusal::Missing)
    }

    /// Name, type, offset in bits, and width in bits (0: no bitfield) of a member.
    fn member_record(&self, holder: Type, index: u32) -> Option<(u32, u32, u32, u32)> {
        let at = holder.at.checked_add(12)?.checked_add(usize::try_from(index).ok()?.checked_mul(12)?)?;
        let place = word(self.data, at.checked_add(8)?)?;
        let (bits, width) = if holder.flag { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
        Some((word(self.data, at)?, word(self.data, at.checked_add(4)?)?, bits, width))
    }

    fn is_holder(&self, id: u32) -> bool {
        self.bare(id, DEEPEST).is_some_and(|found| matches!(found.kind, kind::STRUCT | kind::UNION))
    }

    /// Whether an integer uses only some bits of its bytes: how bitfields were written before 5.1.
    fn is_narrow(&self, id: u32) -> bool {
        let Some(found) = self.bare(id, DEEPEST).filter(|found| found.kind == kind::INT) else {
            return false;
        };
        let encoding = found.at.checked_add(12).and_then(|at| word(self.data, at));
        encoding.is_none_or(|bits| bits & 0xff != found.detail.saturating_mul(8) || bits >> 16 & 0xff != 0)
    }

    fn size(&self, id: u32, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let found = self.bare(id, DEEPEST)?;
        match found.kind {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Some(found.detail)
            }
            kind::PTR => Some(8),
            kind::ARRAY => {
                let element = word(self.data, found.at.checked_add(12)?)?;
                let count = word(self.data, found.at.checked_add(20)?)?;
                self.size(element, depth)?.checked_mul(count)
            }
            _ => None,
        }
    }

    /// The type behind names and modifiers.
    fn bare(&self, id: u32, depth: u32) -> Option<Type> {
        let depth = depth.checked_sub(1)?;
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        let found = self.record(*self.types.get(index)?)?;
        match found.kind {
            kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                self.bare(found.detail, depth)
            }
            _ => Some(found),
        }
    }

    fn record(&self, at: usize) -> Option<Type> {
        let info = word(self.data, at.checked_add(4)?)?;
        Some(Type {
            at,
            name: word(self.data, at)?,
            kind: info >> 24 & 0x1f,
            members: info & 0xffff,
            flag: info >> 31 != 0,
            detail: word(self.data, at.checked_add(8)?)?,
        })
    }

    fn name(&self, at: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(usize::try_from(at).ok()?..)?;
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    }
}

struct Step {
    id: u32,
    offset: u32,
}

enum Refusal {
    Missing,
    Bitfield,
    Broken,
}

impl Type {
    /// Bytes of the whole record; `None` for a kind that did not exist when this was written.
    fn length(self) -> Option<usize> {
        let members = usize::try_from(self.members).ok()?;
        let tail = match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => members.checked_mul(12)?,
            kind::ENUM | kind::FUNC_PROTO => members.checked_mul(8)?,
            kind::PTR..=kind::ENUM64 => 0,
            _ => return None,
        };
        tail.checked_add(12)
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
#[path = "btf_test.rs"]
mod tests;
