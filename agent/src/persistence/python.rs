//! Lines of `.pth` files that Python runs at every start (the module `site`).

use super::lines::lines;
use super::{Source, Start};

pub(super) fn path(source: &Source<'_>) -> Vec<Start> {
    let code =
        lines(source.text).filter(|(_, line)| line.starts_with(b"import ") || line.starts_with(b"import\t"));
    let start = |(number, line): (u32, &[u8])| {
        let mut one = source.thing(number, source.everybody(), line, None, "at every start of Python");
        one.odd.extend(super::reasons::of_command(line, source.home()));
        one
    };
    code.map(start).collect()
}
