//! Programs and libraries that compile while they run, and so have executable memory without a file. Pure.

/// The beginning of a file's name, what must follow (nothing, digits, dots, hyphens are always allowed), and who it is.
const KNOWN: &[(&[u8], &str)] = &[
    (b"node", "V8"),
    (b"nodejs", "V8"),
    (b"libnode.so", "V8"),
    (b"libv8.so", "V8"),
    (b"deno", "V8"),
    (b"chrome", "V8"),
    (b"chromium", "V8"),
    (b"electron", "V8"),
    (b"bun", "JavaScriptCore"),
    (b"libjavascriptcoregtk", "JavaScriptCore"),
    (b"libmozjs", "SpiderMonkey"),
    (b"libxul.so", "SpiderMonkey"),
    (b"libjvm.so", "HotSpot"),
    (b"libj9jit", "OpenJ9"),
    (b"libcoreclr.so", ".NET"),
    (b"libclrjit.so", ".NET"),
    (b"libmonosgen", "Mono"),
    (b"mono-sgen", "Mono"),
    (b"beam.smp", "BeamAsm"),
    (b"libluajit", "LuaJIT"),
    (b"luajit", "LuaJIT"),
    (b"libLLVM", "LLVM"),
    (b"opcache.so", "PHP"),
    (b"qemu-system-", "QEMU"),
];

/// Who compiles at run time, if `path` is such a program or library. A name proves nothing: the caller leaves out files
/// in places where anybody can put one.
pub(super) fn known(path: &[u8]) -> Option<&'static str> {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let fits = |prefix: &[u8]| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            let digits = |byte: &u8| byte.is_ascii_digit() || b".-".contains(byte);
            prefix.ends_with(b"-") || rest.iter().all(digits) || rest.ends_with(b".so") || contains_so(rest)
        })
    };
    KNOWN.iter().find(|(prefix, _)| fits(prefix)).map(|(_, who)| *who)
}

/// `-115.so.0`: a library's version.
fn contains_so(rest: &[u8]) -> bool {
    rest.windows(4).any(|part| part == b".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_versions_are_known_and_longer_words_are_not() {
        for (path, expected) in [
            ("/usr/bin/node", Some("V8")),
            ("/opt/node-20.1/bin/node20", Some("V8")),
            ("/usr/lib/x86_64-linux-gnu/libnode.so.108", Some("V8")),
            ("/usr/lib/jvm/java-17/lib/server/libjvm.so", Some("HotSpot")),
            ("/usr/lib/libmozjs-115.so.0", Some("SpiderMonkey")),
            ("/usr/lib/libjavascriptcoregtk-4.1.so.0", Some("JavaScriptCore")),
            ("/usr/bin/qemu-system-x86_64", Some("QEMU")),
            ("/usr/bin/nodes", None),
            ("/usr/bin/node_exporter", None),
            ("/usr/bin/bunzip2", None),
            ("/usr/bin/python3.11", None),
            ("/node/x", None),
            ("", None),
        ] {
            assert_eq!(known(path.as_bytes()), expected, "{path}");
        }
    }
}
