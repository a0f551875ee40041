//! Who stands around a target, what it holds, and what a policy leaves out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::agent::{Agent, succeed};
use e2e::holder::Holder;
use e2e::judges::Bag;
use e2e::world::BIN;
use e2e::{net, story, world};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

#[test]
fn a_plan_says_who_is_in_scope_and_why_and_takes_nothing() {
    world::inside("a_plan_says_who_is_in_scope_and_why_and_takes_nothing", || {
        net::loopback_up()?;
        let holder = Holder::start(&["hold"])?;
        let tracer = Holder::start(&["trace", &holder.seen.pid.to_string()])?;
        let text = run(&["--pid", &holder.seen.pid.to_string(), "--dry-run", "--json"])?;
        let plan: Value = serde_json::from_slice(&text)?;
        let of = |pid: u64| {
            let scope = plan["scope"].as_array().into_iter().flatten();
            let ends = format!("-{pid}-");
            let one = scope.clone().find(|one| one["id"].as_str().is_some_and(|id| id.contains(&ends)));
            one.with_context(|| format!("{pid} is not in {plan}"))
        };
        for (pid, why) in [(holder.seen.pid.into(), "target"), (holder.number("child")?, "descendant")] {
            ensure!(of(pid)?["why"] == why, "{}", of(pid)?);
            ensure!(of(pid)?["core"] == true && of(pid)?["resident"].as_u64() > Some(0), "{}", of(pid)?);
        }
        let tracing = of(tracer.seen.pid.into())?;
        ensure!(tracing["why"] == "tracer" && tracing["core"] == false, "{tracing}");
        ensure!(!Path::new("/var/lib/afterimage/bundles").exists(), "a plan wrote something");

        // From the other side, the holder is who it is connected to.
        let text = run(&["--pid", &holder.number("client")?.to_string(), "--dry-run", "--json"])?;
        let plan: Value = serde_json::from_slice(&text)?;
        let scope = plan["scope"].as_array().context("no scope")?;
        let is_holder = |one: &&Value| {
            one["id"].as_str().is_some_and(|id| id.contains(&format!("-{}-", holder.seen.pid)))
        };
        let found = scope.iter().find(is_holder).with_context(|| format!("the holder is not in {plan}"))?;
        ensure!(found["why"] == "peer" && found["of"].is_string(), "{found}");
        // Its standard input is the holder's pipe, and the two are connected over loopback.
        let by = found["by"].as_str().context("by nothing")?;
        ensure!(by.starts_with("pipe ") || by.starts_with("tcp "), "{found}");
        Ok(())
    });
}

#[test]
fn what_a_process_holds_and_who_has_the_other_end_is_in_the_bundle() {
    world::inside("what_a_process_holds_and_who_has_the_other_end_is_in_the_bundle", || {
        net::loopback_up()?;
        let holder = Holder::start(&["hold"])?;
        let tracer = Holder::start(&["trace", &holder.seen.pid.to_string()])?;
        let elsewhere = Holder::start(&["elsewhere"])?;
        let bag = capture(&["--pid", &holder.seen.pid.to_string(), "--profile", "volatile"])?;
        descriptors(&holder, &bag).context("the descriptors")?;
        let state = json(&bag, &format!("{}/state.json", holder.folder()))?;
        ensure!(state["tracer"] == tracer.seen.pid, "{state}");
        ensure!(
            state["signals"]["caught"].as_array().is_some_and(|all| all.contains(&"SIGUSR1".into())),
            "{state}"
        );
        ensure!(state["timers"].as_array().map(Vec::len) == Some(1), "{state}");
        ensure!(state["limits"].as_array().map(Vec::len) == Some(16), "{state}");
        sockets(&holder, &elsewhere, &bag).context("the sockets")
    });
}

#[test]
fn what_the_policy_leaves_out_is_not_there_and_said() {
    world::inside("what_the_policy_leaves_out_is_not_there_and_said", || {
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", "[capture]\nomit = ['environment', 'memory']\n")?;
        net::loopback_up()?;
        let holder = Holder::start(&["hold"])?;
        let bag = capture(&["--pid", &holder.seen.pid.to_string()])?;
        let folder = bag.file(&holder.folder());
        ensure!(folder.join("status").exists() && folder.join("exe").exists());
        let secret = b"HOLDER_SECRET";
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for path in fs::read_dir(&next)?.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = fs::read(&path)?;
                let found = bytes.windows(secret.len()).any(|part| part == secret);
                ensure!(!found, "{} has the environment", path.display());
            }
        }
        let capture = json(&bag, "capture.json")?;
        let short = format!("{}-{}", holder.seen.pid, holder.seen.start);
        for what in ["environ", "core"] {
            ensure!(!folder.join(what).exists(), "there is a {what}");
            let subject = format!("{short} {what}");
            let attempts = capture["attempts"].as_array().context("no attempts")?;
            let attempt = attempts.iter().find(|attempt| attempt["subject"] == subject.as_str());
            let attempt = attempt.with_context(|| format!("no attempt {subject}"))?;
            let detail = attempt["detail"].as_str().unwrap_or_default();
            ensure!(attempt["outcome"] == "refused" && detail.contains("by policy"), "{attempt}");
        }
        Ok(())
    });
}

#[test]
fn a_process_that_hides_under_a_mount_is_a_finding() {
    world::inside("a_process_that_hides_under_a_mount_is_a_finding", || {
        let holder = Holder::start(&["elsewhere"])?;
        let folder = format!("/proc/{}", holder.seen.pid);
        let nothing = None::<&str>;
        mount(Some("tmpfs"), folder.as_str(), Some("tmpfs"), MsFlags::empty(), nothing)?;
        let bag = capture(&["--host", "--profile", "volatile"])?;
        let views = json(&bag, "data/hidden/processes.json")?;
        let findings = views["findings"].as_array().context("no findings")?;
        ensure!(findings.iter().all(|finding| finding["pid"] == holder.seen.pid), "{views}");
        let says = |words: &str| {
            findings.iter().any(|finding| finding["reason"].as_str().is_some_and(|why| why.contains(words)))
        };
        ensure!(says("mounted over") && says("cannot be read"), "{views}");
        Ok(())
    });
}

#[test]
fn the_kernels_own_list_agrees_with_proc_while_processes_come_and_go() {
    world::inside("the_kernels_own_list_agrees_with_proc_while_processes_come_and_go", || {
        net::loopback_up()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let mut storm = Command::new("storm")
            .args(["--seconds", "5", &format!("{BIN}/brief")])
            .stdout(Stdio::null())
            .spawn()?;
        let folder = tempfile::tempdir()?;
        let mut looks = 0;
        while storm.try_wait()?.is_none() || looks == 0 {
            let bundle = agent.capture(&["--host", "--profile", "volatile"])?;
            let bag = Bag::extract(&bundle, &folder.path().join(looks.to_string()))?;
            let views = json(&bag, "data/hidden/processes.json")?;
            ensure!(views["findings"].as_array().is_some_and(Vec::is_empty), "{views}");
            ensure!(views["in_kernel"].as_u64() >= Some(3), "the kernel's own list was not read: {views}");
            looks += 1;
        }
        println!("{looks} looks while processes came and went");
        ensure!(storm.wait()?.success() && looks > 1, "no storm, or one look only");
        agent.stop()
    });
}

fn descriptors(holder: &Holder, bag: &Bag) -> Result<()> {
    let list = json(bag, &format!("{}/fd.json", holder.folder()))?;
    let of = |key: &str| -> Result<&Value> {
        let fd = holder.number(key)?;
        let one = list.as_array().into_iter().flatten().find(|one| one["fd"] == fd);
        one.with_context(|| format!("no {key} in {list}"))
    };
    let has_peer = |key: &str, pid: u64| -> Result<()> {
        let one = of(key)?;
        let peers = one["peers"].as_array().into_iter().flatten();
        let is = |peer: &Value| peer["process"].as_str().is_some_and(|id| id.contains(&format!("-{pid}-")));
        ensure!(peers.clone().any(is), "{pid} is not at the other end of {key}: {one}");
        Ok(())
    };
    has_peer("pipe", holder.number("child")?)?;
    has_peer("unix", holder.number("child")?)?;
    has_peer("tcp", holder.number("client")?)?;
    for (key, kind) in [
        ("epoll", "epoll"),
        ("event", "eventfd"),
        ("pidfd", "pidfd"),
        ("map", "bpf_map"),
        ("ring", "io_uring"),
    ] {
        ensure!(of(key)?["held"]["kind"] == kind, "{}", of(key)?);
    }
    ensure!(of("epoll")?["held"]["watches"][0]["fd"] == holder.number("unix")?, "{}", of("epoll")?);
    ensure!(of("event")?["held"]["count"] == 5, "{}", of("event")?);
    ensure!(of("pidfd")?["held"]["pid"] == holder.number("child")?, "{}", of("pidfd")?);
    let map = &of("map")?["held"];
    ensure!(map["id"].as_u64() > Some(0) && map["map_type"] == 2 && map["max_entries"] == 3, "{map}");
    ensure!(of("memory")?["seals"] == 8, "{}", of("memory")?);
    Ok(())
}

fn sockets(holder: &Holder, elsewhere: &Holder, bag: &Bag) -> Result<()> {
    let rows = json(bag, "data/network/sockets.json")?;
    let rows = rows.as_array().context("no list")?;
    let held_by = |row: &Value, pid: u32, fd: &Value| {
        row["owners"].as_array().into_iter().flatten().any(|owner| owner["pid"] == pid && owner["fd"] == *fd)
    };
    let namespace = &elsewhere.report["namespace"];
    for (protocol, fd) in elsewhere.report["sockets"].as_object().context("no sockets")? {
        let row = rows
            .iter()
            .find(|row| row["protocol"] == protocol.as_str() && held_by(row, elsewhere.seen.pid, fd));
        let row = row.with_context(|| format!("no {protocol} socket of descriptor {fd} in {rows:?}"))?;
        ensure!(row["namespace"] == *namespace, "{row} is not in {namespace}");
        // Not every kernel lists all kinds by netlink: then that was refused, and /proc had to do.
        let refused = outcome(bag, &format!("net:[{namespace}] {protocol} by netlink"))?;
        ensure!(row.get("only_in_proc").is_none() != (refused == "refused"), "{row}: {refused}");
    }
    let tcp = &holder.report["tcp"];
    let row = rows.iter().find(|row| row["protocol"] == "tcp" && held_by(row, holder.seen.pid, tcp));
    let row = row.context("the accepted connection is not there")?;
    ensure!(row["peers"][0]["pid"] == holder.number("client")?, "{row}");
    let routes = json(bag, &format!("data/network/{namespace}/interfaces.json"))?;
    ensure!(routes.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "lo")), "{routes}");
    ensure!(fs::metadata(bag.file(&format!("data/network/{namespace}/routes.netlink")))?.len() > 0);
    Ok(())
}

/// The outcome of the attempt with this subject; nothing when there was none.
fn outcome(bag: &Bag, subject: &str) -> Result<String> {
    let capture = json(bag, "capture.json")?;
    let attempts = capture["attempts"].as_array().context("no attempts")?;
    let attempt = attempts.iter().find(|attempt| attempt["subject"] == subject);
    Ok(attempt.and_then(|attempt| attempt["outcome"].as_str()).unwrap_or_default().to_owned())
}

/// A capture without a recorder.
fn capture(arguments: &[&str]) -> Result<Bag> {
    let answer: Value = serde_json::from_slice(&run(&[arguments, &["--json"]].concat())?)?;
    let file = answer["file"].as_str().with_context(|| format!("no file in {answer}"))?;
    Bag::extract(Path::new(file), Path::new("/var/tmp/around"))
}

fn run(arguments: &[&str]) -> Result<Vec<u8>> {
    succeed(&story::program(), &[&["capture"], arguments].concat())
}

fn json(bag: &Bag, name: &str) -> Result<Value> {
    let text = fs::read(bag.file(name)).with_context(|| format!("read {name}"))?;
    Ok(serde_json::from_slice(&text)?)
}
