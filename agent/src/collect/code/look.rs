//! One process's executable mappings: their pages, their first bytes, and where those that were written to are not what
//! they were made from.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::differences::Comparison;
use super::library::{self, Way};
use super::pages::{self, Kind, Row};
use crate::bundle::writer::Error;
use crate::collect::attempts::{Attempts, Miss};
use crate::collect::file::reopen;
use crate::collect::memory::page_size;
use crate::collect::mounted::{Sight, View};
use crate::collect::procdir::ProcDir;
use crate::collect::system::pagemap;
use crate::proc::{Mapping, mappings};
use crate::text;

/// `maps` of a process with the 65,530 mappings the kernel allows by default has some 10 MiB.
const MAPS_MAX: u64 = 32 << 20;

/// Shown of executable memory.
const FIRST: usize = 64;

/// Below this are the addresses of 32-bit programs, which have another vdso than we.
const FOUR_GIB: u64 = 1 << 32;

/// Executable mappings, and runs of their pages, that are looked at per process.
const MAPPINGS_MAX: usize = 65_536;
const RUNS_MAX: usize = 65_536;

/// Comparing the pages of one process, most of which have nothing to compare, may take this long.
const COMPARING_MAX: Duration = Duration::from_secs(5);

/// Differences that are shown per process.
pub(super) const DIFFERENCES_MAX: usize = 4_096;

/// One executable mapping, and what was seen of it.
pub(super) struct Seen {
    pub(super) mapping: Mapping,
    pub(super) row: Row,
    pub(super) comparison: Option<Comparison>,
    pub(super) first: Vec<u8>,
}

impl Seen {
    pub(super) fn is_changed(&self) -> bool {
        self.row.pages.iter().any(|run| run.source == pages::Source::Changed)
    }
}

fn is_same_file(one: &Mapping, other: &Mapping) -> bool {
    (&one.path, one.device, one.inode) == (&other.path, other.device, other.inode)
}

/// One process that is looked at.
pub(super) struct Process<'a> {
    pub(super) dir: &'a ProcDir,
    pub(super) short: String,
    pub(super) view: View<'a>,
    pub(super) way: Way,
    page: u64,
    /// When comparing ends.
    until: Instant,
    mem: Result<File, Miss>,
}

impl<'a> Process<'a> {
    pub(super) fn new(dir: &'a ProcDir, sight: &'a Sight) -> Result<Self, Miss> {
        Ok(Self {
            dir,
            short: dir.id().short(),
            view: sight.of(dir),
            way: Way::Mapping,
            page: page_size()?,
            until: Instant::now() + COMPARING_MAX,
            mem: dir.file("mem").map_err(|error| Miss::at("open mem", &error)),
        })
    }

    pub(super) fn subject(&self, mapping: &Mapping) -> String {
        format!("{} mapped {}", self.short, text::escape(mapping.path.as_slice()))
    }

    /// The executable mappings, with their pages.
    pub(super) fn look(&self) -> Result<(Vec<Seen>, Option<Miss>), Miss> {
        let (maps, mut lack) = self.dir.text("maps", MAPS_MAX)?;
        let pagemap = self.dir.file("pagemap").map_err(|error| Miss::at("open pagemap", &error))?;
        let all = mappings(&maps);
        let kinds = pages::kinds(&all, &|device| self.view.is_memory(device));
        let all: Vec<(Mapping, Kind)> = all.into_iter().zip(kinds).filter(|(one, _)| one.exec).collect();
        if all.is_empty() {
            return Err(self
                .dir
                .check()
                .err()
                .unwrap_or_else(|| Miss::refused("it has no executable memory")));
        }
        if all.len() > MAPPINGS_MAX {
            lack = lack.or(Some(Miss::partial(format!("{} executable mappings", all.len()))));
        }
        let mut left = RUNS_MAX;
        let mut seen = Vec::new();
        for (mapping, kind) in all.into_iter().take(MAPPINGS_MAX) {
            let found = match kind {
                // No pages of the process's own.
                Kind::Kernel => Ok(Vec::new()),
                _ => pagemap::present(&pagemap, self.page, mapping.start, mapping.end, left),
            };
            let found = found.unwrap_or_else(|error| {
                lack.get_or_insert_with(|| Miss::partial(format!("ask which pages are present: {error}")));
                Vec::new()
            });
            left = left.saturating_sub(found.len());
            if left == 0 {
                lack.get_or_insert_with(|| Miss::partial("more runs of pages than are looked at"));
            }
            let pages = pages::runs(&mapping, kind, &found);
            let row = Row {
                start: mapping.start,
                end: mapping.end,
                permissions: pages::permissions(&mapping),
                kind,
                path: mapping.path.clone(),
                offset: mapping.offset,
                file: None,
                pages,
                differing: None,
            };
            let mut one = Seen { mapping, row, comparison: None, first: Vec::new() };
            one.first = self.first(&one);
            seen.push(one);
        }
        Ok((seen, lack))
    }

    /// The first bytes of a mapping that is no file's. A page that is not there is not read, and nothing that a file
    /// system could be asked for: the process can drop any page between two looks.
    fn first(&self, one: &Seen) -> Vec<u8> {
        let (Ok(mem), Some(run)) = (&self.mem, one.row.pages.first()) else { return Vec::new() };
        let mut bytes = vec![0; FIRST];
        let is_read = !matches!(one.row.kind, Kind::File | Kind::DeletedFile | Kind::Kernel);
        if !is_read || mem.read_exact_at(&mut bytes, run.start).is_err() {
            bytes.clear();
        }
        bytes
    }

    /// Whether files are found through their mappings. That they are not is an outcome.
    pub(super) fn which_way(self, seen: &[Seen], attempts: &mut Attempts<'_>) -> Result<Self, Error> {
        let file = seen.iter().find(|one| one.row.kind.has_file());
        let refused = file.and_then(|one| library::follows(self.dir, &one.mapping).err());
        let Some(error) = refused else { return Ok(self) };
        let detail = format!(
            "the kernel does not let us follow mappings to their files: {error} (CAP_SYS_ADMIN or \
             CAP_CHECKPOINT_RESTORE is needed, in the initial user namespace); they are looked up by name"
        );
        attempts.miss(format!("{} map_files", self.short), Miss::refused(detail))?;
        Ok(Self { way: Way::Name, ..self })
    }

    /// Compares the pages of all mappings of the file that `of` is of, where they were written to. Whether any byte
    /// differs.
    pub(super) fn compare(
        &self,
        seen: &mut [Seen],
        of: &Mapping,
        path: &OwnedFd,
        left: &mut usize,
        attempts: &Attempts<'_>,
    ) -> bool {
        let Ok(mem) = &self.mem else { return false };
        let mut differs = false;
        let mut file = None;
        for one in seen.iter_mut().filter(|one| one.is_changed() && is_same_file(&one.mapping, of)) {
            let Ok(file) = file.get_or_insert_with(|| reopen(path)) else { continue };
            let original = |buffer: &mut [u8], offset| library::fill(file, buffer, offset);
            differs |= self.compare_one(one, mem, &original, left, attempts);
        }
        differs
    }

    fn compare_one(
        &self,
        one: &mut Seen,
        mem: &File,
        original: &dyn Fn(&mut [u8], u64) -> std::io::Result<()>,
        left: &mut usize,
        attempts: &Attempts<'_>,
    ) -> bool {
        let mut found = Comparison::new(*left);
        let until = attempts.room().deadline.min(self.until);
        library::compare(&one.mapping, &one.row.pages, self.page, mem, original, until, &mut found);
        *left = left.saturating_sub(found.differences.len());
        one.row.differing = Some(found.bytes);
        let differs = found.bytes > 0;
        one.comparison = Some(found);
        differs
    }

    /// The kernel gives all 64-bit processes the same vdso: ours is the original.
    pub(super) fn compare_vdso(&self, seen: &mut [Seen], own: Option<&[u8]>, attempts: &Attempts<'_>) {
        let vdso = seen.iter_mut().find(|one| one.row.kind == Kind::Vdso && one.is_changed());
        let (Some(one), Some(own), Ok(mem)) = (vdso, own, &self.mem) else { return };
        let length = usize::try_from(one.mapping.end - one.mapping.start).unwrap_or_default();
        if one.mapping.start < FOUR_GIB || length != own.len() {
            return;
        }
        let original = |buffer: &mut [u8], offset: u64| {
            let start = usize::try_from(offset).map_err(std::io::Error::other)?;
            let bytes = own.get(start..start.saturating_add(buffer.len()));
            buffer.copy_from_slice(bytes.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        self.compare_one(one, mem, &original, &mut DIFFERENCES_MAX.clone(), attempts);
    }
}

/// What the kernel gives every 64-bit process.
#[expect(clippy::disallowed_methods, reason = "it is our own, in /proc")]
pub(super) fn own_vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let vdso = mappings(&maps).into_iter().find(|one| one.path.as_slice() == b"[vdso]")?;
    let mut bytes = vec![0; usize::try_from(vdso.end - vdso.start).ok()?];
    let mem = File::open("/proc/self/mem").ok()?;
    mem.read_exact_at(&mut bytes, vdso.start).ok()?;
    Some(bytes)
}
