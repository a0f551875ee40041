//! Who begot whom, over all of the history.

use std::collections::{HashMap, HashSet};

use super::Library;
use crate::event::ProcessId;
use crate::history::index::Index;

/// Descendants that are looked for; a first process has millions.
const FAMILY_MAX: usize = 200_000;

impl Library {
    /// `roots` and all that descend from them, up to about [`FAMILY_MAX`]. Children are born after their parents: one way
    /// through is enough.
    pub fn descendants(&self, roots: &HashSet<ProcessId>) -> HashSet<ProcessId> {
        let mut family = roots.clone();
        for volume in &self.volumes {
            if family.len() > FAMILY_MAX {
                break;
            }
            descend(&volume.index, &mut family);
        }
        family
    }

    /// The parents of `processes`, the parents' parents, and so on, as far as their births were seen.
    pub fn ancestors(&self, processes: &HashSet<ProcessId>) -> HashMap<ProcessId, ProcessId> {
        let mut parents = HashMap::new();
        let mut sought = processes.clone();
        for volume in self.volumes.iter().rev() {
            ascend(&volume.index, &mut sought, &mut parents);
        }
        parents
    }

    /// All that had this pid.
    pub fn with_pid(&self, pid: u32) -> HashSet<ProcessId> {
        let ids = self.volumes.iter().flat_map(|volume| {
            let births = if volume.index.may_bear_pid(pid) { volume.index.births() } else { Vec::new() };
            let births = births.into_iter().map(|birth| birth.id);
            let parents = volume.index.parents().to_vec();
            births.chain(parents).chain(volume.index.guests().into_iter().map(|(_, id)| id))
        });
        ids.filter(|id| id.pid == pid).collect()
    }
}

fn descend(index: &Index, family: &mut HashSet<ProcessId>) {
    let mut marked: Vec<bool> = index.parents().iter().map(|parent| family.contains(parent)).collect();
    if !marked.contains(&true) {
        return;
    }
    let births = index.births();
    let places: HashMap<ProcessId, usize> =
        index.parents().iter().enumerate().map(|(place, parent)| (*parent, place)).collect();
    // Events of two cpus can stand in the wrong order: again, until nobody is found any more.
    let mut grown = true;
    while std::mem::take(&mut grown) {
        for birth in &births {
            let parent = birth.parent.and_then(|place| usize::try_from(place).ok());
            let is_child = parent.and_then(|place| marked.get(place)).is_some_and(|marked| *marked);
            if is_child
                && family.insert(birth.id)
                && let Some(mark) = places.get(&birth.id).and_then(|place| marked.get_mut(*place))
            {
                *mark = true;
                grown = true;
            }
        }
    }
}

fn ascend(index: &Index, sought: &mut HashSet<ProcessId>, parents: &mut HashMap<ProcessId, ProcessId>) {
    if !sought.iter().any(|id| index.may_bear(id)) {
        return;
    }
    let births = index.births();
    // Backwards a child comes before its parent, but for what two cpus wrote in the wrong order.
    let mut grown = true;
    while std::mem::take(&mut grown) {
        for birth in births.iter().rev() {
            let place = birth.parent.and_then(|place| usize::try_from(place).ok());
            let Some(parent) = place.and_then(|place| index.parents().get(place)) else { continue };
            if sought.contains(&birth.id) && parents.insert(birth.id, *parent).is_none() {
                grown |= sought.insert(*parent);
            }
        }
    }
}
