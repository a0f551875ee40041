use jiff::Timestamp;

use super::around::{Holder, Object, Standing};
use super::*;
use crate::collect::testing;
use crate::event::{Action, BootId, Event, Exit, Fork, Source};
use crate::history::tree::Bounds;
use crate::text::Bytes;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::from(pid) }
}

fn apply(tree: &mut Tree, pid: u32, action: Action) {
    let time = Timestamp::from_second(i64::from(pid)).unwrap();
    tree.apply(&Event { time, source: Source::Scan, process: id(pid), action });
}

/// init 1 → service 10 → sh 20 (exited) → x 30 → orphan 40; 10 → 50; 1 → sshd 60.
fn tree() -> Tree {
    tree_within(Bounds::RECORDER)
}

fn tree_within(bounds: Bounds) -> Tree {
    let mut tree = Tree::new(bounds);
    for (parent, pid) in [(0, 1), (1, 10), (10, 20), (20, 30), (30, 40), (10, 50), (1, 60)] {
        let parent = (parent != 0).then(|| id(parent));
        apply(&mut tree, pid, Action::Fork(Fork { parent, name: Bytes::from("x") }));
    }
    for pid in [20, 30] {
        apply(&mut tree, pid, Action::Exit(Exit { code: 0, signal: 0 }));
    }
    tree
}

fn scope(profile: Profile, targets: &[ProcessId]) -> Vec<(u32, Why, bool)> {
    let mut job = testing::job();
    job.profile = profile;
    plan(&job, &tree(), targets, &Around::default())
        .scope
        .iter()
        .map(|one| (one.id.pid, one.why, one.core))
        .collect()
}

#[test]
fn the_scope_goes_from_the_target_outwards_and_through_exited_links() {
    assert_eq!(
        scope(Profile::Triage, &[id(20)]),
        [
            (20, Why::Target, false),
            (30, Why::Descendant, false),
            (40, Why::Descendant, true),
            (10, Why::Ancestor, false),
            (50, Why::Service, false),
        ]
    );
}

#[test]
fn without_a_target_all_get_state_and_none_a_core() {
    let all = scope(Profile::Triage, &[]);
    assert_eq!(all.len(), 7);
    assert!(all.iter().all(|(_, why, core)| *why == Why::Host && !core));
    let exited: Vec<u32> = all.iter().map(|(pid, ..)| *pid).skip(5).collect();
    assert_eq!(exited, [30, 20], "the exited come last");
}

#[test]
fn the_profile_decides_about_memory_and_steps() {
    assert!(scope(Profile::Volatile, &[id(40)]).iter().all(|(_, _, core)| !core));
    assert!(
        scope(Profile::Full, &[id(40)]).iter().all(|(pid, _, core)| *core == !matches!(pid, 20 | 30)),
        "only the living have memory"
    );
    let mut job = testing::job();
    job.profile = Profile::Volatile;
    assert_eq!(
        plan(&job, &tree(), &[], &Around::default()).steps,
        [Step::History, Step::Tree, Step::Network, Step::Process]
    );
}

#[test]
fn an_unknown_target_is_still_a_target_and_counts_as_living() {
    assert_eq!(scope(Profile::Triage, &[id(99)]), [(99, Why::Target, true)]);
}

#[test]
fn a_host_with_too_many_processes_is_cut_and_says_so() {
    // The plan is made by a collector, whose tree is larger than the recorder's.
    let mut tree = tree_within(Bounds::COLLECTOR);
    for pid in 100..u32::try_from(SCOPE_MAX).unwrap() + 200 {
        apply(&mut tree, pid, Action::Fork(Fork { parent: Some(id(1)), name: Bytes::from("x") }));
    }
    let plan = plan(&testing::job(), &tree, &[], &Around::default());
    assert_eq!((plan.scope.len(), plan.left_out), (SCOPE_MAX, 107));
}

#[test]
fn who_stands_around_the_target_is_in_scope_with_the_reason() {
    let mut around = Around::default();
    let standing = |session, tracer, holds: &[Object]| Standing {
        session,
        tracer,
        cgroup: Bytes::from("/a.service"),
        holds: holds.to_vec(),
        ..Standing::default()
    };
    for (pid, standing) in [
        (1, Standing::default()),
        (10, standing(0, 0, &[])),
        (40, standing(40, 60, &[Object::Pipe(7)])),
        (50, standing(0, 0, &[Object::Pipe(7)])),
        (60, Standing::default()),
        (70, standing(40, 0, &[])),
        (80, standing(0, 0, &[])),
    ] {
        for object in &standing.holds {
            around.holders.entry(*object).or_default().push(Holder { process: id(pid), fd: 3 });
        }
        around.standings.insert(id(pid), standing);
    }
    let plan = plan(&testing::job(), &tree(), &[id(40)], &around);
    let found: Vec<_> = plan.scope.iter().map(|one| (one.id.pid, one.why, one.core)).collect();
    let why = [
        (40, Why::Target, true),
        (60, Why::Tracer, false),
        (50, Why::Peer, false),
        (70, Why::Session, false),
        (30, Why::Ancestor, false),
        (20, Why::Ancestor, false),
        (10, Why::Ancestor, false),
        (80, Why::Container, false),
    ];
    assert_eq!(found, why);
    let peer = &plan.scope[2];
    assert_eq!((peer.of, peer.by.as_deref()), (Some(id(40)), Some("pipe 7")));
    assert!(plan.scope.is_sorted_by_key(|one| one.why), "most important first");
}

#[test]
fn what_the_policy_leaves_out_is_not_planned_and_said() {
    let mut job = testing::job();
    job.limits.omit = vec![Omit::Environment, Omit::Memory];
    let plan = plan(&job, &tree(), &[id(40)], &Around::default());
    let target = &plan.scope[0];
    assert_eq!((target.core, &*target.omitted), (false, &[Omit::Environment, Omit::Memory][..]));
    let exited = plan.scope.iter().find(|one| one.id.pid == 30).unwrap();
    assert_eq!(exited.omitted, [], "of the exited there is nothing to leave out");
    let ancestor = plan.scope.iter().find(|one| one.id.pid == 10).unwrap();
    assert_eq!(ancestor.omitted, [Omit::Environment], "its memory would not have been taken");
}

#[test]
fn definitions_that_are_asked_for_are_taken_with_every_profile() {
    for profile in [Profile::Volatile, Profile::Triage, Profile::Full] {
        let mut job = testing::job();
        job.profile = profile;
        let own = plan(&job, &tree(), &[id(20)], &Around::default());
        assert_eq!(own.steps.contains(&Step::Files), !own.artifacts.is_empty(), "{profile:?}");
        job.trigger.artifacts = vec!["ssh".to_owned()];
        let asked = plan(&job, &tree(), &[id(20)], &Around::default());
        assert!(asked.steps.contains(&Step::Files), "{profile:?}");
        assert_eq!(asked.artifacts, ["ssh"]);
        assert_eq!(asked.steps.contains(&Step::Log), profile != Profile::Volatile);
    }
}
