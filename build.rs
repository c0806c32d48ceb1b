//! Gives the shared library its name, and makes the C header when asked to (feature `header`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // What programs that link the shared library look for at run time; changes with the major version.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libutcp.so.0");
    #[cfg(feature = "header")]
    header::generate();
}

#[cfg(feature = "header")]
mod header {
    use std::env;
    use std::path::PathBuf;

    /// The sources of the header, in its order.
    const SOURCES: [&str; 11] = [
        "version.rs",
        "error.rs",
        "opaque.rs",
        "config.rs",
        "callbacks.rs",
        "endpoint.rs",
        "connection.rs",
        "circuit.rs",
        "socket.rs",
        "stats.rs",
        "log.rs",
    ];

    /// Writes `utcp.h` to where the environment variable `UTCP_HEADER` says, or to cargo's output directory.
    pub fn generate() {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
        println!("cargo:rerun-if-env-changed=UTCP_HEADER");
        let output = match env::var_os("UTCP_HEADER") {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("utcp.h"),
        };
        // Made again when it is gone.
        println!("cargo:rerun-if-changed={}", output.display());
        let config = root.join("cbindgen.toml");
        println!("cargo:rerun-if-changed={}", config.display());
        let config = cbindgen::Config::from_file(config).expect("cbindgen.toml");
        let mut builder = cbindgen::Builder::new().with_config(config);
        for name in SOURCES {
            let source = root.join("src/ffi").join(name);
            println!("cargo:rerun-if-changed={}", source.display());
            builder = builder.with_src(source);
        }
        builder
            .generate()
            .expect("src/ffi can be read")
            .write_to_file(output);
    }
}
