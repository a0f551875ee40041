//! Where sealed bundles are kept on this host.
