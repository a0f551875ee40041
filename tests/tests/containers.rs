//! Containers of each runtime, from records of its format and the control groups it makes, without a runtime.
//!
//! The records are written by hand after the published formats: moby `container/container.go`, the OCI runtime specification
//! 1.0.2 with the annotations of containerd's CRI plugin, CRI-O and podman, containers/storage `containers.go`,
//! lxc.container.conf(5), systemd `machine.c`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::judges::Bag;
use e2e::{digest, story, wait, world};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

const LOG: &str = "/tmp/afterimage.log";
const GROUPS: &str = "/run/groups";
const POD: &str = "01234567_89ab_cdef_0123_456789abcdef";

/// An id that begins with this digit.
fn id(digit: char) -> String {
    format!("{digit}f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0")
}

#[test]
fn containers_of_each_runtime_are_in_one_table_and_what_they_changed_with_them() {
    world::inside("containers_of_each_runtime_are_in_one_table_and_what_they_changed_with_them", || {
        mount(Some("none"), make(GROUPS)?.as_str(), Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .context("mount the world's own control groups")?;
        records()?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let docker = Inside::start(&format!("docker-{}.scope", id('d')))?;
        // One that is gone before anybody asks.
        let gone = make(&format!("{GROUPS}/libpod-{}.scope", id('9')))?;
        let mut short = run_in(&gone, &["/usr/bin/true"])?;
        ensure!(short.wait()?.success());
        wait::until("an empty control group", Duration::from_secs(10), || Ok(fs::remove_dir(&gone).ok()))?;
        // Two that have no record in the world: only their groups tell.
        let pod = format!("{GROUPS}/kubepods-burstable-pod{POD}.slice");
        let mut loose = [
            run_in(&make(&format!("{pod}/cri-containerd-{}.scope", id('7')))?, &["/usr/bin/sleep", "120"])?,
            run_in(&make(&format!("{GROUPS}/lxc.payload.loose"))?, &["/usr/bin/sleep", "120"])?,
        ];
        agent.history_flushed()?;
        let sealed = agent.capture(&["--pid", &docker.0.id().to_string(), "--profile", "triage"])?;
        let bag = Bag::extract(&sealed, Path::new("/var/tmp/bag"))?;
        for child in loose.iter_mut().chain(std::iter::once(&mut { docker }.0)) {
            child.kill()?;
            child.wait()?;
        }
        agent.stop()?;
        let rows = lines(&bag, "data/containers.jsonl")?;
        table(&rows)?;
        changes(&lines(&bag, &format!("data/container/{}/changes.jsonl", id('d')))?)?;
        let log = format!("data/log/var/lib/docker/containers/{0}/{0}-json.log", id('d'));
        ensure!(fs::read_to_string(bag.file(&log))? == "{\"log\":\"hello\"}\n", "its log");
        ensure!(
            bag.file(&format!("data/files/var/lib/docker/containers/{}/config.v2.json", id('d'))).exists()
        );
        Ok(())
    });
}

/// What is told of each.
fn table(rows: &[Value]) -> Result<()> {
    let of =
        |id: &str| rows.iter().find(|row| row["id"] == *id).with_context(|| format!("no {id}: {rows:#?}"));
    for (id, runtime, state, name, image) in [
        (id('d'), "docker", "running", "web", "nginx:1.27"),
        (id('c'), "containerd", "stopped", "", "docker.io/library/redis:7"),
        (id('a'), "cri-o", "stopped", "k8s_app_p_ns_u_0", "quay.io/app:1"),
        (id('b'), "podman", "stopped", "job", "docker.io/library/alpine:3"),
        (id('9'), "podman", "gone", "", ""),
        (id('7'), "containerd", "running", "", ""),
        ("web1".to_owned(), "lxc", "stopped", "web1", ""),
        ("loose".to_owned(), "lxc", "running", "", ""),
        ("my-box".to_owned(), "nspawn", "stopped", "my-box", ""),
    ] {
        let row = of(&id)?;
        let told = ["runtime", "state", "name", "image"].map(|key| row[key].as_str().unwrap_or_default());
        ensure!(told == [runtime, state, name, image], "{id}: {row:#}");
    }
    ensure!(rows.len() == 9, "{} rows: {rows:#?}", rows.len());
    let docker = of(&id('d'))?;
    ensure!(
        docker["command"] == json!(["/entry.sh", "nginx"]) && docker["labels"]["team"] == "x",
        "{docker:#}"
    );
    ensure!(docker["mounts"][0]["source"] == "/" && docker["privileged"] == true, "{docker:#}");
    ensure!(docker["in_scope"] == true && docker["living"].as_array().map(Vec::len) == Some(1), "{docker:#}");
    ensure!(docker["upper"] == "/srv/up", "{docker:#}");
    let pod = &of(&id('c'))?["pod"];
    ensure!(pod["name"] == "redis-0" && pod["namespace"] == "prod", "{pod:#}");
    ensure!(of(&id('7'))?["pod_uid"] == POD.replace('_', "-"), "{:#}", of(&id('7'))?);
    let gone = of(&id('9'))?;
    ensure!(gone["exited"].as_array().map(Vec::len) == Some(1), "{gone:#}");
    ensure!(
        gone["executables"].to_string().contains("/usr/bin/true") && gone["last_seen"].is_string(),
        "{gone:#}"
    );
    println!("{} containers of 6 runtimes told right", rows.len());
    Ok(())
}

/// Exactly what was done in the container.
fn changes(rows: &[Value]) -> Result<()> {
    let told: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["path"].as_str().unwrap_or_default(), row["change"].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ("/data", "changed"),
        ("/data/b", "added"),
        ("/etc", "changed"),
        ("/etc/gone", "deleted"),
        ("/etc/motd", "changed"),
        ("/etc/renamed", "added"),
        ("/etc/was", "deleted"),
        ("/new", "added"),
        ("/new/x", "added"),
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(rows[0]["opaque"] == true && rows[2]["opaque"].is_null(), "{rows:#?}");
    let sum = rows[8]["sha256"].as_str().context("no hash")?;
    ensure!(sum == digest::sha256("/srv/up/new/x")?, "{sum}");
    ensure!(rows[3]["changed"].is_string() && rows[3]["sha256"].is_null(), "{:#}", rows[3]);
    println!("{} changes of a real overlay told right", rows.len());
    Ok(())
}

/// A process in a group, with a real overlay file system as its root.
struct Inside(Child);

impl Inside {
    fn start(group: &str) -> Result<Self> {
        for folder in ["/srv/low/etc", "/srv/low/data", "/srv/low/usr", "/srv/up", "/srv/work", "/srv/merged"]
        {
            make(folder)?;
        }
        for (target, link) in [("usr/bin", "bin"), ("usr/lib", "lib"), ("usr/lib64", "lib64")] {
            symlink(target, Path::new("/srv/low").join(link))?;
        }
        for path in ["etc/motd", "etc/gone", "etc/was", "data/a"] {
            fs::write(Path::new("/srv/low").join(path), "of the image\n")?;
        }
        let options = "lowerdir=/srv/low,upperdir=/srv/up,workdir=/srv/work";
        mount(Some("overlay"), "/srv/merged", Some("overlay"), MsFlags::empty(), Some(options))
            .context("mount an overlay")?;
        let root = Path::new("/srv/merged");
        fs::write(root.join("etc/motd"), "changed\n")?;
        fs::remove_file(root.join("etc/gone"))?;
        fs::rename(root.join("etc/was"), root.join("etc/renamed"))?;
        fs::create_dir(root.join("new"))?;
        fs::write(root.join("new/x"), "new\n")?;
        fs::remove_dir_all(root.join("data"))?;
        fs::create_dir(root.join("data"))?;
        fs::write(root.join("data/b"), "new\n")?;
        let nothing = None::<&str>;
        mount(Some("/usr"), "/srv/merged/usr", nothing, MsFlags::MS_BIND, nothing)?;
        let group = make(&format!("{GROUPS}/{group}"))?;
        Ok(Self(run_in(&group, &["/usr/sbin/chroot", "/srv/merged", "/usr/bin/sleep", "120"])?))
    }
}

/// Runs a program in a control group; waits until it runs there, or has run.
fn run_in(group: &str, words: &[&str]) -> Result<Child> {
    let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let child = Command::new("sh").args(["-c", script, group]).args(words).spawn()?;
    let last = words.iter().rev().find(|word| word.starts_with("/usr")).context("no program")?;
    let exe = format!("/proc/{}/exe", child.id());
    wait::until("the program in its group", Duration::from_secs(10), || {
        // The link of one that has ended leads nowhere.
        Ok(fs::read_link(&exe)
            .map_or(Some(()), |link| link.ends_with(last.trim_start_matches('/')).then_some(())))
    })?;
    Ok(child)
}

fn make(folder: &str) -> Result<String> {
    fs::create_dir_all(folder).with_context(|| format!("make {folder}"))?;
    Ok(folder.to_owned())
}

fn write(path: &str, value: &Value) -> Result<()> {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(path, value.to_string()).with_context(|| format!("write {}", path.display()))
}

/// What the runtimes would have written down.
fn records() -> Result<()> {
    let docker = format!("/var/lib/docker/containers/{}", id('d'));
    let log = format!("{docker}/{}-json.log", id('d'));
    write(
        &format!("{docker}/config.v2.json"),
        &json!({"ID": id('d'), "Name": "/web", "Created": "2026-11-20T14:00:00Z", "Path": "/entry.sh", "Args": ["nginx"],
            "Image": "sha256:aa", "LogPath": log, "State": {"Running": true, "Pid": 1, "StartedAt": "2026-11-20T14:00:01Z"},
            "Config": {"Image": "nginx:1.27", "Hostname": "d0", "Labels": {"team": "x"}},
            "MountPoints": {"/host": {"Source": "/", "Destination": "/host", "RW": true, "Type": "bind"}}}),
    )?;
    write(
        &format!("{docker}/hostconfig.json"),
        &json!({"Privileged": true, "NetworkMode": "host", "RestartPolicy": {"Name": "always"}}),
    )?;
    fs::write(&log, "{\"log\":\"hello\"}\n")?;
    let oci = |annotations: Value| {
        json!({"ociVersion": "1.0.2", "process": {"args": ["/app"], "user": {"uid": 0, "gid": 0}}, "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "network"}]}, "annotations": annotations})
    };
    let task = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
    write(
        &format!("{task}/{}/config.json", id('c')),
        &oci(
            json!({"io.kubernetes.cri.image-name": "docker.io/library/redis:7", "io.kubernetes.cri.container-name": "redis",
            "io.kubernetes.cri.sandbox-name": "redis-0", "io.kubernetes.cri.sandbox-namespace": "prod"}),
        ),
    )?;
    let storage = "/var/lib/containers/storage/overlay-containers";
    write(
        &format!("{storage}/{}/userdata/config.json", id('a')),
        &oci(
            json!({"io.kubernetes.cri-o.Name": "k8s_app_p_ns_u_0", "io.kubernetes.cri-o.ImageName": "quay.io/app:1",
            "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "ns"}),
        ),
    )?;
    write(
        &format!("{storage}/{}/userdata/config.json", id('b')),
        &oci(json!({"io.container.manager": "libpod"})),
    )?;
    let metadata = json!({"image-name": "docker.io/library/alpine:3", "name": "job"}).to_string();
    write(
        &format!("{storage}/containers.json"),
        &json!([{"id": id('b'), "names": ["job"], "image": "cc", "layer": "1a", "metadata": metadata,
            "created": "2026-11-20T14:00:00Z"}]),
    )?;
    make("/var/lib/lxc/web1")?;
    fs::write(
        "/var/lib/lxc/web1/config",
        "lxc.uts.name = web1\nlxc.rootfs.path = dir:/var/lib/lxc/web1/rootfs\n",
    )?;
    make("/run/systemd/machines")?;
    let machine = "# This is private data. Do not parse.\nNAME=my-box\nSERVICE=systemd-nspawn\nROOT=/var/lib/machines/box\n\
        CLASS=container\nREALTIME=1700000000000000\n";
    fs::write("/run/systemd/machines/my-box", machine)?;
    Ok(())
}

fn lines(bag: &Bag, name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(bag.file(name)).with_context(|| format!("no {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
