//! Cores of real programs, against those of gcore: the same threads, the same back-traces, the same bytes; and what gcore
//! does not have.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::core::{Core, PAGE, frames};
use e2e::judges::{Bag, gdb};
use e2e::proc::Seen;
use e2e::world::OUT;
use e2e::{agent, story, wait, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn of_compiled_programs() {
    world::inside("of_compiled_programs", || {
        for (name, threads, flags) in [
            ("many", "64", &["-g", "-pthread", "-pie", "-fPIE"][..]),
            ("pie", "1", &["-g", "-pthread", "-pie", "-fPIE", "-O2"]),
            ("static", "3", &["-g", "-pthread", "-static", "-no-pie"]),
        ] {
            let program = compile(name, flags)?;
            let mut target = Target::start(Command::new(&program).arg(threads))?;
            let (hidden, _) = target.addresses()?;
            let cores = target.cores()?;
            let known = cores.are_the_same(&program).context(name)?;
            ensure!(known == threads.parse::<usize>()?, "{name}: {known} threads, and there were {threads}");
            let page = cores.ours.page(hidden)?.context("the page that nobody may read is missing")?;
            ensure!(page.starts_with(b"hidden where nobody may read\0"), "{name}: {:?}", &page[..32]);
            let said = gdb(&program, &cores.path, &["thread apply all bt"])?;
            ensure!(said.contains("main (argc"), "{name}: no back-trace reaches main:\n{said}");
            let waiting = said.matches(" wait_here (depth=0)").count();
            ensure!(
                waiting + 1 == known || name == "pie",
                "{name}: {waiting} wait in the named frame:\n{said}"
            );
        }
        Ok(())
    });
}

/// Their number does not fit into the header.
#[test]
fn of_seventy_thousand_islands() {
    world::inside("of_seventy_thousand_islands", || {
        let program = compile("islands", &["-g", "-pthread"])?;
        let mut target = Target::start(Command::new(&program).args(["1", "70000"]))?;
        let (_, sea) = target.addresses()?;
        let path = target.core()?;
        let core = Core::open(&path)?;
        ensure!(core.segments > 70_000, "{} segments", core.segments);
        let last = sea + (69_999 << 17);
        let said = gdb(&program, &path, &[&format!("x/s {last:#x}"), "bt"])?;
        ensure!(said.contains("\"island 69999\"") && said.contains("main (argc"), "{said}");
        Ok(())
    });
}

#[test]
fn of_python() {
    world::inside("of_python", || {
        let program = "import threading, time
threads = [threading.Thread(target=time.sleep, args=(600,), daemon=True) for _ in range(3)]
for thread in threads: thread.start()
kept = {number: str(number) * 9 for number in range(100000)}
print('ready', flush=True)
time.sleep(600)";
        let mut target = Target::start(Command::new("/usr/bin/python3").args(["-c", program]))?;
        let known = target.cores()?.are_the_same(Path::new("/usr/bin/python3"))?;
        ensure!(known == 4, "{known} threads");
        Ok(())
    });
}

#[test]
fn of_node() {
    world::inside("of_node", || {
        let program =
            "const kept = Array.from({length: 100000}, (_, number) => ({number, text: `item ${number}`}));
console.log('ready', kept.length); setInterval(() => {}, 1000);";
        let mut target = Target::start(Command::new("/usr/bin/node").args(["-e", program]))?;
        let known = target.cores()?.are_the_same(Path::new("/usr/bin/node"))?;
        ensure!(known > 4, "{known} threads");
        Ok(())
    });
}

#[test]
fn of_a_go_program() {
    world::inside("of_a_go_program", || {
        // It waits for what it shall encrypt, once its header is out.
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let mut target = Target::start(Command::new("/usr/bin/age").args(["-a", "-r", recipient]))?;
        let known = target.cores()?.are_the_same(Path::new("/usr/bin/age"))?;
        ensure!(known > 2, "{known} threads");
        Ok(())
    });
}

fn compile(name: &str, flags: &[&str]) -> Result<PathBuf> {
    let (source, program) = (Path::new("/tmp/cored.c"), Path::new("/tmp").join(name));
    fs::write(source, include_str!("../fixtures/cored.c"))?;
    let status =
        Command::new("gcc").args(flags).arg("-o").arg(&program).arg(source).status().context("start gcc")?;
    ensure!(status.success(), "gcc failed for {name}");
    Ok(program)
}

/// A process, and the first line it said.
struct Target {
    child: Child,
    line: String,
    /// What it says later has to go somewhere.
    _output: BufReader<ChildStdout>,
}

/// Both cores of one stopped process.
struct Cores {
    ours: Core,
    path: PathBuf,
    theirs: Core,
    their_path: PathBuf,
    /// Its mapped files: from, to, offset, path.
    files: Vec<(u64, u64, u64, String)>,
    /// The process's own, which still stands.
    memory: File,
}

impl Target {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the target")?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().context("no stdout")?);
        output.read_line(&mut line)?;
        // A thread that has not run yet has a stack that was never touched: gcore's core has zeros there, ours has nothing.
        wait::until("all threads to sleep", PATIENCE, || Ok(all_are(child.id(), 'S')?.then_some(())))?;
        Ok(Self { child, line, _output: output })
    }

    /// What the fixture says: where the hidden page is, and the sea of islands.
    fn addresses(&self) -> Result<(u64, u64)> {
        let (hidden, sea) = self.line.trim().split_once(' ').with_context(|| self.line.clone())?;
        let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
        Ok((hexadecimal(hidden)?, hexadecimal(sea).unwrap_or_default()))
    }

    /// Stops it as a job is stopped, takes our core, and makes sure that it still stands.
    fn core(&mut self) -> Result<PathBuf> {
        let pid = self.child.id();
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGSTOP)?;
        wait::until("all threads to stop", PATIENCE, || Ok(all_are(pid, 'T')?.then_some(())))?;
        // Not the files of the whole world: they are another test's.
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", "[paths]\nroot = \"/srv\"\n")?;
        let answer = agent::succeed(
            &story::program(),
            &["capture", "--json", "--pid", &pid.to_string(), "--output", OUT],
        )?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let bundle = PathBuf::from(answer["file"].as_str().context("no file")?);
        ensure!(all_are(pid, 'T')?, "the capture let it run");
        let folder = Path::new("/var/tmp").join(pid.to_string());
        let bag = Bag::extract(&bundle, &folder)?;
        fs::remove_file(bundle)?;
        let seen = Seen::of(pid)?;
        Ok(bag.file(&format!("data/process/{pid}-{}/core", seen.start)))
    }

    /// Both cores; ours first, as gcore touches what was never touched.
    fn cores(&mut self) -> Result<Cores> {
        let (pid, path) = (self.child.id(), self.core()?);
        let prefix = Path::new(OUT).join("theirs");
        let output =
            Command::new("gcore").arg("-o").arg(&prefix).arg(pid.to_string()).output().context("gcore")?;
        let their_path = PathBuf::from(format!("{}.{pid}", prefix.display()));
        ensure!(their_path.exists(), "gcore: {}", String::from_utf8_lossy(&output.stderr));
        let files = files(&fs::read_to_string(format!("/proc/{pid}/maps"))?);
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        Ok(Cores {
            ours: Core::open(&path)?,
            path,
            theirs: Core::open(&their_path)?,
            their_path,
            files,
            memory,
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether that is the state of all threads.
fn all_are(pid: u32, state: char) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        if !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lines `from-to rights offset device inode path` with a path of a file.
fn files(maps: &str) -> Vec<(u64, u64, u64, String)> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let (offset, path) = (words.nth(1)?, words.nth(2)?);
        let file = path.starts_with('/');
        file.then(|| Some((hexadecimal(from)?, hexadecimal(to)?, hexadecimal(offset)?, path.to_owned())))?
    };
    maps.lines().filter_map(line).collect()
}

impl Cores {
    /// Fails where ours says anything else than gcore's; how many threads there are.
    fn are_the_same(&self, program: &Path) -> Result<usize> {
        let ask = |core: &Path| anyhow::Ok(frames(&gdb(program, core, &["thread apply all bt"])?));
        let (ours, theirs) = (ask(&self.path)?, ask(&self.their_path)?);
        for (thread, frames) in &theirs {
            ensure!(
                ours.get(thread) == Some(frames),
                "thread {thread}: {:#?}\ngcore's: {frames:#?}",
                ours.get(thread)
            );
        }
        ensure!(ours.len() == theirs.len(), "{} threads, and gcore's {}", ours.len(), theirs.len());
        self.pages()?;
        Ok(ours.len())
    }

    fn pages(&self) -> Result<()> {
        let (mut same, mut untouched, mut of_files) = (0, 0, 0);
        for address in self.theirs.addresses() {
            let theirs = self.theirs.page(address)?.context("no page")?;
            match self.ours.page(address)? {
                Some(ours) => {
                    ensure!(ours == theirs, "the page at {address:#x} differs");
                    same += 1;
                }
                // gcore writes what was never touched, too.
                None if theirs == [0; PAGE] => untouched += 1,
                None => {
                    ensure!(self.in_file(address)? == Some(theirs), "the page at {address:#x} is missing");
                    of_files += 1;
                }
            }
        }
        for address in self.ours.addresses() {
            let mut now = [0; PAGE];
            self.memory.read_exact_at(&mut now, address).with_context(|| format!("read {address:#x}"))?;
            ensure!(self.ours.page(address)? == Some(now), "the page at {address:#x} is not what it is");
        }
        println!(
            "{} of our {} pages are gcore's too; of its {} pages {untouched} were never touched, {of_files} are in files",
            same,
            self.ours.len(),
            self.theirs.len()
        );
        ensure!(same > 10, "only {same} pages are in both");
        Ok(())
    }

    /// The page of the mapped file.
    fn in_file(&self, address: u64) -> Result<Option<[u8; PAGE]>> {
        let holds = |(from, to, ..): &&(u64, u64, u64, String)| (*from..*to).contains(&address);
        let Some((from, _, offset, path)) = self.files.iter().find(holds) else { return Ok(None) };
        let mut page = [0; PAGE];
        let mut at = 0;
        let file = File::open(path).with_context(|| format!("open {path}"))?;
        while at < PAGE {
            match file.read_at(&mut page[at..], address - from + offset + at as u64)? {
                0 => break,
                read => at += read,
            }
        }
        Ok(Some(page))
    }
}
