//! Handles as C sees them: names without a content.

/// OpenSSL's SSL.
pub struct ssl_st {
    _opaque: [u8; 0],
}

/// Configuration of endpoints to come.
pub struct utcp_config {
    _opaque: [u8; 0],
}

/// One UDP socket and all peers behind it.
pub struct utcp_endpoint {
    _opaque: [u8; 0],
}

/// One peer relay: a DTLS session and its circuits.
pub struct utcp_connection {
    _opaque: [u8; 0],
}

/// One circuit: a TCP connection of its own.
pub struct utcp_circuit {
    _opaque: [u8; 0],
}

/// Batched reading and writing of the program's UDP socket.
pub struct utcp_socket {
    _opaque: [u8; 0],
}
