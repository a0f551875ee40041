use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Typed {
    #[command(subcommand)]
    command: TokenCommand,
}

fn typed(words: &str) -> Result<TokenCommand, clap::Error> {
    Typed::try_parse_from(words.split(' ')).map(|typed| typed.command)
}

fn context(folder: &std::path::Path) -> Context {
    let mut config = crate::config::Config::default();
    folder.join("state").clone_into(&mut config.paths.state);
    config.paths.socket = folder.join("socket");
    Context { config, json: true }
}

#[test]
fn what_is_typed_is_made_listed_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let names = || -> Vec<String> {
        let secrets = secrets::load(&context.config.paths.keys()).unwrap();
        secrets.tokens.into_iter().map(|token| token.name).collect()
    };
    for words in [
        "token new --role trigger --sender falco",
        "token new --role read --name anna",
        "token new --role trigger --signed",
        "token list",
    ] {
        assert_eq!(run(&typed(words).unwrap(), &context).unwrap(), Exit::Done, "{words}");
    }
    assert_eq!(names(), ["falco-1", "anna", "trigger-1"]);
    run(&typed("token revoke anna").unwrap(), &context).unwrap();
    assert_eq!(names(), ["falco-1", "trigger-1"]);
    assert!(run(&typed("token revoke anna").unwrap(), &context).unwrap_err().words.contains("token list"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for words in ["token new", "token new --role root", "token new --role trigger --sender nobody"] {
        assert!(typed(words).is_err(), "{words}");
    }
    for words in ["token new --role read --signed", "token new --role read --sender falco"] {
        let refused = run(&typed(words).unwrap(), &context(folder.path())).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage, "{words}");
    }
}

#[test]
fn a_running_recorder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let listener = crate::ipc::Listener::bind(&context.config.paths.socket).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let channel = listener.accept().unwrap();
            let (request, _) = channel.recv::<Request>().unwrap().unwrap();
            channel.send(&Reply::Done, &[]).unwrap();
            request
        });
        run(&typed("token new --role admin").unwrap(), &context).unwrap();
        assert_eq!(asked.join().unwrap(), Request::ReloadSecrets);
    });
}

#[test]
fn the_advice_fits_the_sender() {
    let listen = "127.0.0.1:8740".parse().unwrap();
    let of = |words: &str| match typed(words).unwrap() {
        TokenCommand::New(args) => advice(&args, "afi_x", listen),
        _ => panic!(),
    };
    let falco = of("token new --role trigger --sender falco");
    assert!(
        falco.contains("http://falco:afi_x@127.0.0.1:8740/v1/triggers/falco")
            && !falco.contains("alertmanager")
    );
    assert!(of("token new --role trigger --sender alertmanager").contains("credentials: \"afi_x\""));
    assert!(of("token new --role read").contains("afterimage pull http://127.0.0.1:8740"));
    let signed = of("token new --role trigger --signed");
    assert!(signed.contains("/v1/triggers/generic") && !signed.contains("afi_x"), "{signed}");
}
