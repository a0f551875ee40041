//! The prison from inside: each test starts itself again in a process of its own, and there plays the prisoner.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::*;
use crate::system::{prison, spawn};

/// Nobody, by convention.
const NOBODY: (u32, u32) = (65534, 65534);

/// A filter that matches no test: the prisoner knows itself by it (its environment is empty).
const PRISONER: &str = "the-prisoner";

/// Runs `test` again as the prisoner, with descriptors from 3 on.
fn imprison(test: &str, descriptors: &[OwnedFd]) -> Child {
    let name = format!("door::door_test::imprisoned::{test}");
    let arguments = ["--exact", &name, "--skip", PRISONER, "--nocapture"];
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    spawn::ourselves(&arguments, descriptors, Stdio::null(), Stdio::piped()).unwrap()
}

fn is_prisoner() -> bool {
    std::env::args().any(|argument| argument == PRISONER)
}

fn end(mut child: Child) -> (ExitStatus, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap(), text)
}

#[test]
fn nothing_can_be_opened_connected_or_started_from_inside() {
    if is_prisoner() {
        return look_for_a_way_out();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut open = tempfile::tempfile().unwrap();
    open.write_all(listener.local_addr().unwrap().to_string().as_bytes()).unwrap();
    let (status, text) =
        end(imprison("nothing_can_be_opened_connected_or_started_from_inside", &[open.into()]));
    assert!(status.success(), "{text}");
    assert_eq!(text.matches("ways out: 0").count(), 1, "{text}");
    assert!(listener.accept().is_err(), "it reached the listener");
}

fn look_for_a_way_out() {
    let open = File::from(spawn::inherited(spawn::FIRST).unwrap());
    let mut address = [0; 64];
    let length = open.read_at(&mut address, 0).unwrap();
    let address: SocketAddr = str::from_utf8(&address[..length]).unwrap().parse().unwrap();
    let prison = prison::enter(NOBODY).unwrap();
    let parent = nix::unistd::getppid();
    let ways: [(&str, bool); 14] = [
        ("open a file", File::open("/etc/passwd").is_ok()),
        ("open a directory", File::open("/").is_ok()),
        ("list a directory", std::fs::read_dir("/tmp").is_ok()),
        ("read of others", std::fs::read("/proc/1/environ").is_ok()),
        ("read of itself", std::fs::read("/proc/self/mem").is_ok()),
        ("make a file", OpenOptions::new().create(true).append(true).open("/tmp/way-out").is_ok()),
        ("connect", TcpStream::connect(address).is_ok()),
        ("listen", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("send datagrams", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("connect locally", UnixStream::pair().is_ok()),
        ("start a program", Command::new("/bin/true").status().is_ok()),
        ("signal others", nix::sys::signal::kill(parent, None).is_ok()),
        ("become root", nix::unistd::setresuid(0.into(), 0.into(), 0.into()).is_ok()),
        ("trace itself", nix::sys::prctl::set_dumpable(true).is_ok()),
    ];
    for (way, _) in ways.iter().filter(|(_, succeeded)| *succeeded) {
        println!("it can {way}");
    }
    // What the door lives by still works.
    let threads = std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap();
    assert_eq!((threads, open.read_at(&mut [0; 4], 0).unwrap()), (1 << 20, 4));
    assert!(prison.seccomp && prison.uid != 0 && prison.gid != 0, "{prison:?}");
    println!("ways out: {}", ways.iter().filter(|(_, succeeded)| *succeeded).count());
}

#[test]
fn whoever_executes_inside_is_killed() {
    if is_prisoner() {
        return execute();
    }
    let (status, text) = end(imprison("whoever_executes_inside_is_killed", &[]));
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{text}");
    assert!(!text.contains("executed"), "{text}");
}

fn execute() {
    prison::enter(NOBODY).unwrap();
    let refused = nix::unistd::execv(c"/bin/true", &[c"true"]);
    println!("executed, or at least survived it: {refused:?}");
}

#[test]
fn root_is_not_a_user_for_the_door() {
    if is_prisoner() {
        return stay_root();
    }
    let (status, text) = end(imprison("root_is_not_a_user_for_the_door", &[]));
    assert!(status.success() && text.contains("never root"), "{text}");
}

fn stay_root() {
    // Who is not root cannot become it either; the prison leaves that user as it is.
    if nix::unistd::geteuid().is_root() {
        for user in [(0, 0), (0, 65534), (65534, 0)] {
            assert!(matches!(prison::enter(user), Err(prison::Error::Root)), "{user:?}");
        }
    }
    println!("never root");
}

#[test]
fn the_door_does_its_work_in_its_prison() {
    if is_prisoner() {
        return serve();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (recorder, door) = Channel::pair().unwrap();
    let child = imprison("the_door_does_its_work_in_its_prison", &[OwnedFd::from(door), listener.into()]);
    let (secrets, tokens) = secrets();
    recorder.send(&ToDoor::Secrets(secrets), &[]).unwrap();
    let world = World::with(address, recorder, tokens, |question| match question {
        ToRecorder::Trigger { request, .. } => {
            Some((ToDoor::Accepted { request: *request, id: Uuid::from_u128(7) }, None))
        }
        ToRecorder::OpenBundle { request, id, .. } => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[b'x'; 10_000]).unwrap();
            let (file_name, sha256) = ("x".to_owned(), "00".repeat(32));
            let modified = Timestamp::UNIX_EPOCH;
            let bundle = crate::ipc::message::BundleState {
                id: *id,
                file: file_name,
                size: 10_000,
                sha256,
                modified,
                complete: None,
            };
            Some((ToDoor::Bundle { request: *request, bundle }, Some(file.into())))
        }
        _ => None,
    });
    let ToRecorder::Health { door, .. } = world.next() else { panic!() };
    assert_eq!(door["seccomp"], true);
    let posted = world.post("/v1/triggers/falco", &world.bearer("trigger"), br#"{"rule":"R"}"#);
    assert_eq!(posted.status, 202);
    let content = world.get(&format!("/v1/bundles/{}/content", Uuid::nil()), &world.bearer("read"));
    assert_eq!((content.status, content.body.len()), (200, 10_000));
    drop(world);
    let (status, text) = end(child);
    assert!(status.success(), "{text}");
}

fn serve() {
    let channel = spawn::inherited(spawn::FIRST).unwrap();
    let listener = spawn::inherited(spawn::FIRST + 1).unwrap();
    crate::door::run(listener, channel, NOBODY).unwrap();
}
