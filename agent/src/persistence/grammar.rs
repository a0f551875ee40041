//! The shell's grammar, as far as it says where one command ends and the next begins.

/// Bytes of one command line, words in it, and how deep commands in place of words stand in each other.
const LENGTH_MAX: usize = 64 << 10;
const WORDS_MAX: usize = 4_096;
const SUBSTITUTIONS_MAX: usize = 32;

/// The simple commands of a line, as words without quotes.
pub(super) fn commands(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = Reader::default();
    let mut bytes = text.iter().copied().take(LENGTH_MAX).peekable();
    while let Some(byte) = bytes.next() {
        if reader.words > WORDS_MAX {
            break;
        }
        match (reader.now.quote, byte) {
            (Some(quote), _) if byte == quote => reader.now.quote = None,
            (Some(b'\''), _) => reader.push(byte),
            (_, b'\\') => {
                if let Some(next) = bytes.next().filter(|&next| next != b'\n') {
                    reader.push(next);
                }
            }
            // A command in place of a word, inside of quotes too.
            (_, b'$') if bytes.peek() == Some(&b'(') && reader.outer.len() < SUBSTITUTIONS_MAX => {
                bytes.next();
                reader.substitute();
            }
            (None, b'"' | b'\'') => {
                reader.now.quote = Some(byte);
                reader.now.word.get_or_insert_default();
            }
            (None, b'#') if reader.now.word.is_none() => {
                while bytes.next_if(|&next| next != b'\n').is_some() {}
            }
            (None, b'<' | b'>') => {
                reader.redirect();
                while bytes.next_if(|next| matches!(next, b'<' | b'>' | b'&' | b'|')).is_some() {}
            }
            (None, b')') if !reader.outer.is_empty() => reader.end_substitution(),
            (_, b'`') | (None, b';' | b'&' | b'|' | b'\n' | b'(' | b')') => reader.end_command(),
            (None, _) if byte.is_ascii_whitespace() => reader.end_word(),
            (_, _) => reader.push(byte),
        }
    }
    while !reader.outer.is_empty() {
        reader.end_substitution();
    }
    reader.end_command();
    reader.all.retain(|command| !command.is_empty());
    reader.all
}

#[derive(Default)]
struct Reader {
    all: Vec<Vec<Vec<u8>>>,
    words: usize,
    now: Level,
    /// Around the commands in place of words.
    outer: Vec<Level>,
}

/// One command, as far as it was read.
#[derive(Default)]
struct Level {
    command: Vec<Vec<u8>>,
    word: Option<Vec<u8>>,
    quote: Option<u8>,
    /// Whether the next word is a file that is read or written.
    redirected: bool,
    /// Its place among all, where commands in it were read first.
    at: Option<usize>,
}

impl Reader {
    fn push(&mut self, byte: u8) {
        self.now.word.get_or_insert_default().push(byte);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.now.word.take()
            && !std::mem::take(&mut self.now.redirected)
        {
            self.words = self.words.saturating_add(1);
            self.now.command.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.now.redirected = false;
        let command = std::mem::take(&mut self.now.command);
        match self.now.at.take().and_then(|at| self.all.get_mut(at)) {
            Some(place) => *place = command,
            None => self.all.push(command),
        }
    }

    fn redirect(&mut self) {
        // The number of a descriptor is no word.
        self.now.word.take_if(|word| word.iter().all(u8::is_ascii_digit));
        self.end_word();
        self.now.redirected = true;
    }

    fn substitute(&mut self) {
        if self.now.at.is_none() {
            self.now.at = Some(self.all.len());
            self.all.push(Vec::new());
        }
        self.outer.push(std::mem::take(&mut self.now));
    }

    fn end_substitution(&mut self) {
        self.end_command();
        self.now = self.outer.pop().unwrap_or_default();
    }
}

/// Whether a word is `NAME=value`.
pub(super) fn is_assignment(word: &[u8]) -> bool {
    let end = word.iter().position(|&byte| byte == b'=').unwrap_or_default();
    let name = word.get(..end).unwrap_or_default();
    !name.is_empty()
        && !name.first().is_some_and(u8::is_ascii_digit)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<String> {
        let all = commands(text.as_bytes());
        all.iter().map(|words| String::from_utf8(words.join(&b'|')).unwrap()).collect()
    }

    #[test]
    fn commands_are_told_apart() {
        for (text, expected) in [
            ("a b;c&&d||e|f&g", vec!["a|b", "c", "d", "e", "f", "g"]),
            ("a 'b;c' \"d|e\" f\\;g", vec!["a|b;c|d|e|f;g"]),
            ("a >/dev/null 2>&1 <b c", vec!["a|c"]),
            ("a \"x $(b 'c)') y\"; d", vec!["a|x  y", "b|c)", "d"]),
            ("a `b`", vec!["a", "b"]),
            ("a # b; c\nd", vec!["a", "d"]),
            ("a '' b", vec!["a||b"]),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn broken_ones_end_somehow() {
        for text in ["", "'", "\"", "\\", "$(", "$($($(", ")", "))", "<", ">", "2>", "`", "&&", "a '", "\"$("]
        {
            assert!(read(text).len() <= 1, "{text}: {:?}", read(text));
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_made_up(text: Vec<u8>) {
            let total: usize = commands(&text).iter().flatten().map(Vec::len).sum();
            prop_assert!(total <= text.len());
        }

        #[test]
        fn depth_ends(depth in 0_usize..2_000) {
            commands("$(".repeat(depth).as_bytes());
            commands("\"$(a".repeat(depth).as_bytes());
        }
    }
}
