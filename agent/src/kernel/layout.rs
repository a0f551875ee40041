//! The field table, resolved for one kernel.

use afterimage_ebpf::field::{ABSENT, COUNT, Expect, Field, Group, Spec, TABLE};

use super::btf::{Btf, Error};

/// Offsets by the field's index, and what was refused.
pub(super) struct Layout {
    pub(super) offsets: [u32; COUNT],
    /// Path and offset of what was found.
    pub(super) found: Vec<(&'static str, u32)>,
    refused: Vec<(Group, String)>,
}

impl Layout {
    /// Resolves every row.
    pub(super) fn resolve(btf: &Btf<'_>) -> Self {
        let mut layout = Self { offsets: [ABSENT; COUNT], found: Vec::new(), refused: Vec::new() };
        for (place, spec) in layout.offsets.iter_mut().zip(TABLE) {
            match row(btf, spec) {
                Ok((path, offset)) => {
                    *place = offset;
                    layout.found.push((path, offset));
                }
                Err(reason) => layout.refused.push((spec.group, reason)),
            }
        }
        layout
    }

    /// Why programs of these groups cannot be loaded; empty when they can.
    pub(super) fn refused(&self, groups: &[Group]) -> Vec<String> {
        self.refused.iter().filter(|(group, _)| groups.contains(group)).map(|(_, why)| why.clone()).collect()
    }

    /// Whether what the probe likes to read in one go stands side by side: of a dentry its parent and name, of a mount its
    /// parent, point and root.
    pub(super) fn is_joined(&self) -> bool {
        let at = |field: Field| self.offsets.get(field.index()).copied().filter(|&offset| offset != ABSENT);
        let after = |first: Option<u32>, second: Option<u32>, bytes| {
            first.zip(second).is_some_and(|(first, second)| first.checked_add(bytes) == Some(second))
        };
        let root = at(Field::MountVfsmount)
            .zip(at(Field::VfsmountRoot))
            .and_then(|(mount, root)| mount.checked_add(root));
        after(at(Field::DentryParent), at(Field::DentryName), 16)
            && after(at(Field::MountParent), at(Field::MountPoint), 8)
            && after(at(Field::MountPoint), root, 8)
    }

    /// Every refusal.
    pub(super) fn all_refused(&self) -> Vec<String> {
        self.refused.iter().map(|(_, why)| why.clone()).collect()
    }
}

fn row(btf: &Btf<'_>, spec: &Spec) -> Result<(&'static str, u32), String> {
    let mut newest = None;
    for path in spec.paths {
        match btf.resolve(path) {
            Ok(found) => return checked(path, spec.expect, found.offset, found.size),
            Err(missing @ Error::Missing(_)) => newest = newest.or(Some(missing)),
            Err(other) => return Err(other.to_string()),
        }
    }
    Err(newest.map_or_else(String::new, |error| error.to_string()))
}

fn checked(
    path: &'static str,
    expect: Expect,
    offset: u32,
    size: u32,
) -> Result<(&'static str, u32), String> {
    match expect {
        Expect::Size(wanted) | Expect::Whole(wanted) | Expect::At(wanted, _) if wanted != size => {
            Err(format!("`{path}` has {size} bytes, not {wanted}"))
        }
        Expect::At(_, wanted) if wanted != offset => {
            Err(format!("`{path}` is at byte {offset}, not {wanted}"))
        }
        Expect::Number if !matches!(size, 4 | 8) => Err(format!("`{path}` has {size} bytes, not 4 or 8")),
        // A whole structure has no offset: its size is what the probe needs.
        Expect::Whole(size) => Ok((path, size)),
        Expect::Size(_) | Expect::At(..) | Expect::Number | Expect::Offset => Ok((path, offset)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_path_once_and_is_in_order() {
        let mut paths: Vec<_> = TABLE.iter().flat_map(|spec| spec.paths).collect();
        paths.sort_unstable();
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
        assert!(TABLE.iter().enumerate().all(|(index, spec)| spec.field.index() == index));
    }

    #[test]
    fn the_running_kernel_has_every_field_a_program_needs() {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let layout = Layout::resolve(&Btf::parse(&data).unwrap());
        let needed = [Group::Core, Group::Exec, Group::Exit, Group::Tcp, Group::Udp4];
        assert_eq!(layout.refused(&needed), Vec::<String>::new());
        assert!(layout.found.iter().all(|(_, offset)| *offset < 1 << 16));
    }

    #[test]
    fn what_is_not_side_by_side_is_not_joined() {
        let mut layout = Layout { offsets: [ABSENT; COUNT], found: Vec::new(), refused: Vec::new() };
        assert!(!layout.is_joined());
        for (field, offset) in [
            (Field::DentryParent, 24),
            (Field::DentryName, 40),
            (Field::MountParent, 16),
            (Field::MountPoint, 24),
            (Field::MountVfsmount, 32),
            (Field::VfsmountRoot, 0),
        ] {
            layout.offsets[field.index()] = offset;
        }
        assert!(layout.is_joined());
        layout.offsets[Field::VfsmountRoot.index()] = 8;
        assert!(!layout.is_joined());
    }

    #[test]
    fn a_wrong_size_is_refused() {
        assert!(checked("a.b", Expect::Size(8), 4, 4).is_err());
        assert!(checked("a", Expect::Whole(16), 0, 24).is_err());
        assert_eq!(checked("a", Expect::Whole(16), 0, 16), Ok(("a", 16)));
        assert_eq!(checked("a.b", Expect::Offset, 4, 0), Ok(("a.b", 4)));
        assert_eq!(checked("a.b", Expect::At(8, 4), 4, 8), Ok(("a.b", 4)));
        assert!(
            checked("a.b", Expect::At(8, 4), 8, 8).is_err()
                && checked("a.b", Expect::At(8, 4), 4, 4).is_err()
        );
        assert!(
            checked("a.b", Expect::Number, 0, 4).is_ok() && checked("a.b", Expect::Number, 0, 16).is_err()
        );
    }
}
