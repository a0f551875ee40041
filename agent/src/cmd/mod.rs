//! One page per subcommand.
