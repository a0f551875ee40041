//! A sender's text, held against bytes of the host: paths and command lines.

use super::hint::Verdict;
use crate::event::Image;
use crate::text::Bytes;

/// How falcosidekick marks a text that it cut.
const CUT_MARK: &[u8] = b"[...]";
/// Where Falco itself cuts, without a mark.
const FALCO_CUT: usize = 4096;
/// A beginning of this length is taken for a cut command line even without a mark.
const TELLING: usize = 32;

/// What a sender said, looked at once and compared with very many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'t> {
    text: &'t [u8],
    /// JSON has no bytes: what is not UTF-8 arrives as U+FFFD.
    lossy: bool,
    cut: bool,
}

impl<'t> Said<'t> {
    pub(super) fn new(text: &'t Bytes) -> Self {
        let text = text.as_slice();
        let (text, cut) = match text.strip_suffix(CUT_MARK) {
            Some(beginning) => (beginning, true),
            None => (text, text.len() >= FALCO_CUT),
        };
        let text = text.trim_ascii();
        let lossy = text.windows(3).any(|window| window == "\u{fffd}".as_bytes());
        Self { text, lossy, cut: cut && !text.is_empty() }
    }

    /// Whether it is the path of this image's file.
    pub(super) fn is_path_of(&self, image: &Image) -> Verdict {
        let said = self.text.strip_suffix(b" (deleted)").unwrap_or(self.text);
        let said = Self { text: said, ..*self };
        // What a container calls `/x` can be `/some/root/x` for us, or the other way round.
        let below =
            |long: &[u8], short: &[u8]| short.len() > 1 && short.starts_with(b"/") && long.ends_with(short);
        let ours = image.executable.as_slice();
        match () {
            () if said.is(ours) => Verdict::Fits(80),
            () if said.is(image.filename.as_slice()) => Verdict::Fits(70),
            () if below(ours, said.text) || below(said.text, ours) => Verdict::Fits(40),
            () if ours.is_empty() => Verdict::Open,
            () => Verdict::Contradicts,
        }
    }

    /// Whether it is this image's command line.
    ///
    /// Falco prints the short name and the arguments after the first; others the whole argument vector, or the
    /// executable's path and the arguments after the first. All join with spaces: `a "b c"` and `a b c` are one.
    pub(super) fn is_command_line_of(&self, image: &Image) -> Verdict {
        let first = image.args.first().map(Bytes::as_slice).unwrap_or_default();
        let heads = [first, image.name.as_slice(), image.executable.as_slice(), image.filename.as_slice()];
        let mut best = Verdict::Open;
        for head in heads.into_iter().filter(|head| !head.is_empty()) {
            let possible = self.lossy || self.text.starts_with(head) || head.starts_with(self.text);
            let verdict = if possible { self.compare(head, image) } else { Verdict::Contradicts };
            match verdict {
                Verdict::Fits(80) => return verdict,
                Verdict::Fits(_) => best = verdict,
                _ if best == Verdict::Open => best = verdict,
                _ => {}
            }
        }
        best
    }

    fn compare(&self, head: &[u8], image: &Image) -> Verdict {
        let rest = image.args.iter().skip(1).map(Bytes::as_slice);
        let ours = std::iter::once(head).chain(rest).collect::<Vec<_>>().join(&b' ');
        let ours = ours.trim_ascii();
        let begins = ours.starts_with(self.text)
            || (self.lossy && String::from_utf8_lossy(ours).as_bytes().starts_with(self.text));
        match () {
            () if self.is(ours) || (self.cut && begins) => Verdict::Fits(80),
            () if begins && self.text.len() >= TELLING => Verdict::Fits(50),
            // Ours may be the shorter one: the probe takes a bounded part.
            () if image.args_cut && ours.len() >= TELLING && self.text.starts_with(ours) => Verdict::Fits(50),
            () => Verdict::Contradicts,
        }
    }

    fn is(&self, ours: &[u8]) -> bool {
        self.text == ours || (self.lossy && String::from_utf8_lossy(ours).as_bytes() == self.text)
    }
}
