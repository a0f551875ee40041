//! The bundle: hash, compress, sign; read and verify.
