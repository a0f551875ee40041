//! Interpreters that the kernel starts for a kind of file (binfmt.d(5), /var/lib/binfmts).

use super::lines::{contains, lines, show};
use super::{Source, Start};

pub(super) fn formats(source: &Source<'_>) -> Vec<Start> {
    if contains(source.path, b"/binfmts/") {
        return vec![saved(source)].into_iter().flatten().collect();
    }
    let mut starts = Vec::new();
    for (number, line) in lines(source.text) {
        let Some((&separator, rest)) = line.split_first() else { continue };
        let fields: Vec<&[u8]> = rest.split(|&byte| byte == separator).collect();
        let [name, _, _, magic, _, interpreter, ..] = fields.as_slice() else { continue };
        let when = format!("when a file of the format {} ({}) is run", show(name), show(magic));
        starts.push(source.thing(number, source.everybody(), interpreter, Some(interpreter), when));
    }
    starts
}

/// As update-binfmts keeps it: package, type, offset, magic, mask, interpreter, one a line.
fn saved(source: &Source<'_>) -> Option<Start> {
    let lines: Vec<&[u8]> = source.text.split(|&byte| byte == b'\n').collect();
    let interpreter = lines.get(5).filter(|path| path.starts_with(b"/"))?;
    let when = format!("when a file of the format {} is run", show(super::lines::base(source.path)));
    Some(source.thing(6, source.everybody(), interpreter, Some(interpreter), when))
}
