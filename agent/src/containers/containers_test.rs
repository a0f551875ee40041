use proptest::prelude::*;

use super::*;

const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[test]
fn docker_tells_who_it_is() {
    let config = format!(
        r#"{{"ID":"{ID}","Name":"/web","Created":"2026-11-20T14:00:00Z","Path":"/entry.sh","Args":["nginx","-g"],
        "Image":"sha256:aa","LogPath":"/var/lib/docker/containers/x/x-json.log","Unknown":[1],
        "Config":{{"Image":"nginx:1.27","User":"","Hostname":"0f1e","Labels":{{"io.kubernetes.pod.name":"p","a":"b"}}}},
        "State":{{"Running":true,"Pid":7,"StartedAt":"2026-11-20T14:00:01Z","FinishedAt":"0001-01-01T00:00:00Z"}},
        "MountPoints":{{"/h":{{"Source":"/","Destination":"/h","RW":false,"Type":"bind"}}}}}}"#
    );
    let one = docker(config.as_bytes(), br#"{"Privileged":true,"NetworkMode":"host"}"#).unwrap();
    assert_eq!(
        (one.runtime, one.name.as_str(), one.image.as_str()),
        (Some(Runtime::Docker), "web", "nginx:1.27")
    );
    assert_eq!(one.command, ["/entry.sh", "nginx", "-g"]);
    assert_eq!(
        one.mounts,
        [Mount { source: "/".into(), destination: "/h".into(), kind: "bind".into(), read_only: true }]
    );
    assert_eq!((one.finished.as_str(), one.network.as_str(), one.privileged), ("", "host", true));
    assert_eq!(one.pod.unwrap().name, "p");
    for bad in ["", "{", "[]", "{}", r#"{"ID":7}"#, r#"{"ID":"x","Args":{}}"#, "null"] {
        assert_eq!(docker(bad.as_bytes(), b""), None, "{bad}");
    }
}

#[test]
fn who_wrote_an_oci_record_is_told_by_its_annotations() {
    let record = |annotations: &str| {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","process":{{"args":["sleep","1"],"user":{{"uid":0,"gid":5}}}},"root":{{"path":"rootfs"}},
            "hostname":"h","mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
            {{"destination":"/x","type":"bind","source":"/srv/x","options":["rbind","ro"]}}],
            "linux":{{"namespaces":[{{"type":"pid"}}]}},"annotations":{annotations}}}"#
        );
        oci(text.as_bytes(), ID, "/run/x").unwrap()
    };
    let one = record(
        r#"{"io.kubernetes.cri.container-name":"c","io.kubernetes.cri.image-name":"i","io.kubernetes.cri.sandbox-name":"p","io.kubernetes.cri.sandbox-namespace":"n"}"#,
    );
    assert_eq!(
        (one.runtime, one.image.as_str(), one.root.as_str()),
        (Some(Runtime::Containerd), "i", "/run/x/rootfs")
    );
    assert_eq!((one.user.as_str(), one.network.as_str(), one.mounts.len()), ("0:5", "host", 1));
    assert!(one.mounts[0].read_only && !one.privileged);
    let pod = one.pod.unwrap();
    assert_eq!((pod.name.as_str(), pod.namespace.as_str(), pod.container.as_str()), ("p", "n", "c"));
    assert_eq!(record(r#"{"io.kubernetes.cri-o.ImageName":"i"}"#).runtime, Some(Runtime::Crio));
    assert_eq!(record(r#"{"io.container.manager":"libpod"}"#).runtime, Some(Runtime::Podman));
    assert_eq!(record("null").runtime, Some(Runtime::Containerd));
    for bad in ["", "{}", "[]", "null", r#"{"process":{"args":"x"}}"#, r#"{"process":{"args":[1]}}"#] {
        assert_eq!(oci(bad.as_bytes(), ID, "/"), None, "{bad}");
    }
}

#[test]
fn the_shared_storage_tells_names_and_layers() {
    let text = format!(
        r#"[{{"id":"{ID}","names":["web"],"image":"im","layer":"la","metadata":"{{\"image-name\":\"docker.io/x\",\"name\":\"web\"}}","created":"2026-11-20T14:00:00Z"}},
        {{"id":"","layer":"none"}},{{"id":"b","metadata":"broken"}}]"#
    );
    let all = storage(text.as_bytes()).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (all[0].name.as_str(), all[0].image.as_str(), all[0].layer.as_str()),
        ("web", "docker.io/x", "la")
    );
    for bad in ["", "{}", "[1]", r#"[{"id":1}]"#] {
        assert_eq!(storage(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn lxc_and_nspawn_are_read() {
    let text = b"# x\nlxc.uts.name = web\nlxc.rootfs.path = overlay:/low:/up\nlxc.mount.entry = /srv data none bind,ro 0 0\nbroken\nlxc.init.cmd = /sbin/init x\nlxc.net.0.type = veth\n";
    let one = lxc(text, "web").unwrap();
    assert_eq!((one.root.as_str(), one.hostname.as_str(), one.network.as_str()), ("/up", "web", "veth"));
    assert!(one.mounts[0].read_only && one.command == ["/sbin/init", "x"]);
    assert_eq!(lxc(b"", "x"), None);
    assert_eq!(lxc(b"a = b\n\xff\xfe", "x"), None);
    let text = b"# This is private data. Do not parse.\nNAME=box\nSCOPE=machine-box.scope\nSERVICE=systemd-nspawn\nROOT=/var/lib/machines/box\nCLASS=container\nREALTIME=1700000000000000\n";
    let one = nspawn(text).unwrap();
    assert_eq!((one.id.as_str(), one.root.as_str()), ("box", "/var/lib/machines/box"));
    assert!(one.started.starts_with("2023-11-14T"), "{}", one.started);
    for bad in [
        "",
        "NAME=\nCLASS=container\nSERVICE=systemd-nspawn",
        "NAME=v\nCLASS=vm\nSERVICE=libvirt-qemu",
        "NAME=v",
    ] {
        assert_eq!(nspawn(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn records_of_one_container_are_joined() {
    let of = |runtime, name: &str| Container { runtime, name: name.to_owned(), ..Container::default() };
    let mut one = of(None, "");
    one.join(of(Some(Runtime::Containerd), "first"));
    one.join(of(Some(Runtime::Docker), "second"));
    one.join(of(Some(Runtime::Containerd), "third"));
    assert_eq!((one.runtime, one.name.as_str()), (Some(Runtime::Docker), "first"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_left_out(bytes: Vec<u8>) {
        docker(&bytes, &bytes);
        oci(&bytes, ID, "/");
        storage(&bytes);
        lxc(&bytes, "x");
        nspawn(&bytes);
    }
}
