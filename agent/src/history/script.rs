//! The file that an interpreter was told to run. Pure.

use crate::event::Image;
use crate::text::Bytes;

/// An interpreter's options that take the next argument, and those after which no file is run.
struct Interpreter {
    /// How its name begins; versions may follow.
    name: &'static [u8],
    /// Letters of short options, and long options, whose value is the next argument.
    with_value: &'static [&'static [u8]],
    /// The program is in the arguments, not in a file.
    inline: &'static [&'static [u8]],
}

const SHELL: (&[&[u8]], &[&[u8]]) = (&[b"-o", b"+o", b"-O", b"+O", b"--rcfile", b"--init-file"], &[b"-c"]);

/// Those that are known.
const INTERPRETERS: [Interpreter; 14] = [
    shell(b"sh"),
    shell(b"bash"),
    shell(b"dash"),
    shell(b"ash"),
    shell(b"ksh"),
    shell(b"zsh"),
    Interpreter {
        name: b"python",
        with_value: &[b"-W", b"-X", b"--check-hash-based-pycs"],
        inline: &[b"-c", b"-m", b"-"],
    },
    Interpreter { name: b"pypy", with_value: &[b"-W", b"-X"], inline: &[b"-c", b"-m", b"-"] },
    Interpreter { name: b"perl", with_value: &[b"-I", b"-M", b"-m"], inline: &[b"-e", b"-E", b"-"] },
    Interpreter {
        name: b"node",
        with_value: &[b"-r", b"--require", b"--import", b"-C", b"--conditions"],
        inline: &[b"-e", b"-p", b"--eval", b"--print", b"-"],
    },
    Interpreter { name: b"ruby", with_value: &[b"-r", b"-I", b"-C"], inline: &[b"-e", b"-"] },
    Interpreter { name: b"php", with_value: &[b"-c", b"-d", b"-z"], inline: &[b"-r", b"-"] },
    Interpreter { name: b"lua", with_value: &[b"-l"], inline: &[b"-e", b"-"] },
    Interpreter { name: b"tclsh", with_value: &[b"-encoding"], inline: &[] },
];

const fn shell(name: &'static [u8]) -> Interpreter {
    Interpreter { name, with_value: SHELL.0, inline: SHELL.1 }
}

/// The absolute path of the script, if the executable is an interpreter that was given one; nothing where it is not to
/// be known (a working directory that could not be read).
pub fn script(image: &Image) -> Option<Bytes> {
    let name = image.executable.as_slice().rsplit(|&byte| byte == b'/').next()?;
    let interpreter = INTERPRETERS.iter().find(|one| is_named(name, one.name))?;
    let file = argument(image.args.get(1..)?, interpreter)?;
    if file.starts_with(b"/") {
        return Some(Bytes::from(file));
    }
    let folder = image.working_directory.as_slice();
    (folder.starts_with(b"/")).then(|| Bytes([folder, b"/", file].concat()))
}

/// `python3.11` is a `python`, `lua5.4` a `lua`, and `shred` no `sh`.
fn is_named(name: &[u8], interpreter: &[u8]) -> bool {
    name.strip_prefix(interpreter).is_some_and(|rest| {
        rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'd'))
    })
}

fn argument<'a>(args: &'a [Bytes], interpreter: &Interpreter) -> Option<&'a [u8]> {
    let mut args = args.iter().map(Bytes::as_slice);
    while let Some(argument) = args.next() {
        if argument == b"--" {
            return args.next();
        }
        if interpreter.inline.contains(&argument) || is_cluster(argument, interpreter) {
            return None;
        }
        if interpreter.with_value.contains(&argument) {
            args.next();
        } else if interpreter.name == b"php" && argument == b"-f" {
            return args.next();
        } else if !argument.starts_with(b"-") && !argument.starts_with(b"+") {
            return Some(argument).filter(|argument| !argument.is_empty());
        }
    }
    None
}

/// Short options together, such as `-lc` and `-we`, of which one says that no file follows.
fn is_cluster(argument: &[u8], interpreter: &Interpreter) -> bool {
    let Some(letters) = argument.strip_prefix(b"-").filter(|letters| !letters.starts_with(b"-")) else {
        return false;
    };
    let alone = letters.iter().all(u8::is_ascii_alphabetic);
    let inline = |letter: &u8| interpreter.inline.contains(&&[b'-', *letter][..]);
    let takes_value = |letter: &u8| interpreter.with_value.contains(&&[b'-', *letter][..]);
    // What stands behind an option that takes a value is the value.
    alone && letters.iter().take_while(|letter| !takes_value(letter)).any(inline)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(executable: &str, line: &str) -> Option<String> {
        let args = line.split(' ').map(Bytes::from).collect();
        let image = Image {
            executable: Bytes::from(executable),
            args,
            working_directory: Bytes::from("/srv"),
            ..Image::default()
        };
        script(&image).map(|path| path.to_string())
    }

    #[test]
    fn the_file_of_an_interpreter_is_found() {
        for (executable, line, expected) in [
            ("/usr/bin/dash", "sh x.sh a b", "/srv/x.sh"),
            ("/usr/bin/bash", "bash -x -o pipefail /tmp/x a", "/tmp/x"),
            ("/usr/bin/bash", "bash -- x", "/srv/x"),
            ("/usr/bin/python3.11", "python -W ignore -u ../x.py", "/srv/../x.py"),
            ("/usr/bin/perl", "perl -w x.pl -e", "/srv/x.pl"),
            ("/usr/bin/node", "node --require ./a.js b.js", "/srv/b.js"),
            ("/usr/bin/php8.2", "php -d a=b -f x.php", "/srv/x.php"),
            ("/usr/bin/lua5.4", "lua x.lua", "/srv/x.lua"),
        ] {
            assert_eq!(of(executable, line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn where_there_is_no_file_there_is_none() {
        for (executable, line) in [
            ("/usr/bin/dash", "sh -c x.sh"),
            ("/usr/bin/bash", "bash -lc x"),
            ("/usr/bin/bash", "bash"),
            ("/usr/bin/bash", "bash -i"),
            ("/usr/bin/python3", "python3 -m http.server"),
            ("/usr/bin/python3", "python3 -Ic x"),
            ("/usr/bin/perl", "perl -we 1"),
            ("/usr/bin/perl", "perl -"),
            ("/usr/bin/shred", "shred x"),
            ("/usr/bin/ls", "ls x"),
            ("/usr/bin/perldoc", "perldoc x"),
            ("", ""),
        ] {
            assert_eq!(of(executable, line), None, "{line}");
        }
        let image = Image {
            executable: Bytes::from("/bin/sh"),
            args: vec![Bytes::from("sh"), Bytes::from("x")],
            working_directory: Bytes::from(".../deep"),
            ..Image::default()
        };
        assert_eq!(script(&image), None, "a working directory that is not whole");
    }

    proptest! {
        #[test]
        fn any_arguments_are_read(name in "sh|bash|python3|perl|node|php", args: Vec<Vec<u8>>) {
            let args = args.into_iter().map(Bytes).collect();
            script(&Image { executable: Bytes::from(&name), args, ..Image::default() });
        }
    }
}
