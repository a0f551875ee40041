//! What a command line starts: enough of the shell's grammar to find the programs and scripts in it, never to run them.

use super::grammar::{commands, is_assignment};
use super::lines::base;

/// How often one command line stands in another.
const NESTED_MAX: usize = 4;

/// What starts another program, named after its options.
const WRAPPERS: &[&[u8]] = &[
    b"exec",
    b"nohup",
    b"setsid",
    b"sudo",
    b"doas",
    b"env",
    b"nice",
    b"ionice",
    b"chrt",
    b"timeout",
    b"command",
    b"builtin",
    b"eval",
    b"time",
    b"stdbuf",
    b"flock",
    b"chronic",
    b"systemd-run",
    b"busybox",
    b"disown",
    b"coproc",
    b"if",
    b"then",
    b"else",
    b"elif",
    b"do",
    b"while",
    b"until",
    b"!",
    b"{",
    b"and",
    b"or",
    b"not",
];

/// What runs a script.
const INTERPRETERS: &[&[u8]] = &[
    b"sh",
    b"bash",
    b"dash",
    b"ash",
    b"zsh",
    b"ksh",
    b"fish",
    b"csh",
    b"tcsh",
    b"python",
    b"perl",
    b"ruby",
    b"node",
    b"nodejs",
    b"php",
    b"lua",
    b"bun",
    b"deno",
    b"java",
    b"tclsh",
    b"ld-linux-x86-64.so.2",
    b"ld-linux-aarch64.so.1",
];

/// What the shell does itself, and what starts nothing.
const BUILTINS: &[&[u8]] = &[
    b"[",
    b"[[",
    b"test",
    b"cd",
    b"echo",
    b"printf",
    b"export",
    b"set",
    b"unset",
    b"umask",
    b":",
    b"true",
    b"false",
    b"sleep",
    b"return",
    b"exit",
    b"fi",
    b"done",
    b"}",
    b"esac",
    b"case",
    b"for",
    b"in",
    b"local",
    b"declare",
    b"typeset",
    b"readonly",
    b"alias",
    b"unalias",
    b"shopt",
    b"break",
    b"continue",
    b"shift",
    b"read",
    b"wait",
    b"trap",
    b"let",
    b"ulimit",
    b"source-highlight",
    b"complete",
    b"setopt",
    b"bindkey",
    b"autoload",
    b"compinit",
    b"zstyle",
    b"end",
    b"status",
    b"function",
    b"hash",
    b"type",
    b"which",
    b"bind",
    b"stty",
    b"setenv",
];

/// A program or script that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// As it is written, but for the home.
    pub(crate) path: Vec<u8>,
    /// Whether it is read by a running shell rather than started.
    pub(crate) sourced: bool,
}

/// What the command line starts, in its order; `home` stands for `~` and `$HOME`.
pub(crate) fn programs(text: &[u8], home: &[u8]) -> Vec<Program> {
    let mut found = Vec::new();
    look(text, home, 0, &mut found);
    found
}

/// The most telling of them: the first that is no builtin; of an interpreter its script.
pub(crate) fn target(text: &[u8], home: &[u8]) -> Option<Vec<u8>> {
    let mut all = programs(text, home).into_iter().map(|program| program.path).peekable();
    let first = all.next()?;
    let script = is_interpreter(&first).then(|| all.next_if(|next| next.contains(&b'/'))).flatten();
    Some(script.unwrap_or(first))
}

/// Whether a program of this name runs scripts.
pub(crate) fn is_interpreter(program: &[u8]) -> bool {
    let name = base(program);
    // python3.11, php8.2
    let end = name.iter().position(u8::is_ascii_digit).unwrap_or(name.len());
    INTERPRETERS.contains(&name) || name.get(..end).is_some_and(|stem| INTERPRETERS.contains(&stem))
}

fn look(text: &[u8], home: &[u8], nested: usize, found: &mut Vec<Program>) {
    for command in commands(text) {
        let mut words = command.iter().map(Vec::as_slice).skip_while(|word| is_assignment(word)).peekable();
        let mut wrapped = false;
        while let Some(word) = words.next() {
            let name = base(word);
            if WRAPPERS.contains(&name) {
                wrapped = true;
                continue;
            }
            // Options and durations of what stands before; `env A=b`.
            let option = word.starts_with(b"-") || word.first().is_some_and(u8::is_ascii_digit);
            if is_assignment(word) || (wrapped && option) {
                continue;
            }
            if word.is_empty() || BUILTINS.contains(&name) {
                break;
            }
            if matches!(word, b"." | b"source") {
                found.extend(words.next().map(|file| Program { path: expanded(file, home), sourced: true }));
                break;
            }
            found.push(Program { path: expanded(word, home), sourced: false });
            if is_interpreter(word) {
                script(&mut words, home, nested, found);
            }
            break;
        }
    }
}

/// The script that an interpreter is given, or what is in the command line that it is given.
fn script(words: &mut dyn Iterator<Item = &[u8]>, home: &[u8], nested: usize, found: &mut Vec<Program>) {
    while let Some(word) = words.next() {
        match word {
            [b'-', flags @ .., b'c'] if !flags.contains(&b'-') => {
                if let Some(inner) = words.next().filter(|_| nested < NESTED_MAX) {
                    look(inner, home, nested.saturating_add(1), found);
                }
                return;
            }
            b"-e" | b"-m" => return,
            [b'-', ..] => {}
            _ => return found.push(Program { path: expanded(word, home), sourced: false }),
        }
    }
}

/// `~/x` and `$HOME/x` below the home.
pub(crate) fn expanded(path: &[u8], home: &[u8]) -> Vec<u8> {
    let tails =
        [&b"~"[..], b"$HOME", b"${HOME}", b"%h"].into_iter().find_map(|start| path.strip_prefix(start));
    match tails {
        Some(tail) if !home.is_empty() && tail.first().is_none_or(|&byte| byte == b'/') => {
            [home, tail].concat()
        }
        _ => path.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(text: &str) -> Vec<String> {
        let all = programs(text.as_bytes(), b"/home/u");
        all.into_iter().map(|one| String::from_utf8(one.path).unwrap()).collect()
    }

    #[test]
    fn programs_and_scripts_are_found_behind_wrappers_and_quotes() {
        for (text, expected) in [
            ("/usr/bin/x -d", vec!["/usr/bin/x"]),
            ("cd / && run-parts --report /etc/cron.hourly", vec!["run-parts"]),
            ("test -x /usr/sbin/anacron || { cd / ; /a; }", vec!["/a"]),
            ("A=b nohup node ~/.x/app.js >/dev/null 2>&1 &", vec!["node", "/home/u/.x/app.js"]),
            ("/bin/sh -c 'curl http://h/x | bash'", vec!["/bin/sh", "curl", "bash"]),
            ("bash -lc \"exec '/tmp/a b'\"", vec!["bash", "/tmp/a b"]),
            ("[ -f ~/.bash_aliases ] && . ~/.bash_aliases", vec!["/home/u/.bash_aliases"]),
            ("timeout 5 python3.11 -u $HOME/x.py", vec!["python3.11", "/home/u/x.py"]),
            ("bash <(wget -qO- h)", vec!["bash", "wget"]),
            ("eval \"$(/opt/tool init)\"; /opt/b", vec!["/opt/tool", "/opt/b"]),
            ("cp \"$(/opt/a 'x)')/y\" /tmp/z && /opt/c", vec!["cp", "/opt/a", "/opt/c"]),
            ("sudo -n env A=b /opt/y # /opt/z", vec!["/opt/y"]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn what_starts_nothing_or_is_broken_names_nothing() {
        for text in [
            "",
            " ",
            "#",
            "'",
            "\"",
            "\\",
            ";;;",
            "A=b",
            "echo /tmp/x",
            ">",
            "2>",
            "(",
            "| |",
            ". ",
            "exec",
            "-",
        ] {
            let found: Vec<String> = named(text).into_iter().filter(|name| name.contains('/')).collect();
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn the_target_of_an_interpreter_is_its_script() {
        let target = |text: &str| target(text.as_bytes(), b"/h").map(|path| String::from_utf8(path).unwrap());
        assert_eq!(target("/usr/bin/node /h/a.js").as_deref(), Some("/h/a.js"));
        assert_eq!(target("python3 -m http.server").as_deref(), Some("python3"));
        assert_eq!(target("sh -c /tmp/x").as_deref(), Some("/tmp/x"));
        assert_eq!(target("true"), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read(text: Vec<u8>) {
            target(&text, b"/h");
        }

        #[test]
        fn nesting_ends(depth in 0_usize..200) {
            programs("sh -c \"".repeat(depth).as_bytes(), b"");
            programs("$(".repeat(depth).as_bytes(), b"");
        }
    }
}
