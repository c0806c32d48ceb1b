use super::*;
use crate::ffi::error::{
    UTCP_ERR_ARGUMENT, UTCP_ERR_HANDLE, UTCP_ERR_NULL, UTCP_ERR_RANGE, UTCP_OK,
};
use std::ptr::{null, null_mut};

fn options(config: &Config) -> [u64; 18] {
    [
        config.client_certificate as u64,
        u64::from(config.security_level),
        config.max_connections as u64,
        config.max_half_open as u64,
        config.max_circuits as u64,
        config.send_buffer as u64,
        config.receive_buffer as u64,
        config.congestion as u64,
        config.datagram_size as u64,
        config.handshake_timeout,
        config.dead_timeout,
        config.memory_budget,
        u64::from(config.path_mtu_discovery),
        config.largest_datagram as u64,
        u64::from(config.ecn),
        u64::from(config.coupled),
        u64::from(config.coupled_flows),
        u64::from(config.connection_share),
    ]
}

#[test]
fn every_option_takes_its_documented_bounds_and_nothing_beyond() {
    let bounds: [(c_int, u64, u64, Error); 18] = [
        (UTCP_OPTION_CLIENT_CERTIFICATE, 0, 2, Error::Range),
        (UTCP_OPTION_SECURITY_LEVEL, 0, 5, Error::Argument),
        (UTCP_OPTION_MAX_CONNECTIONS, 1, 1_048_576, Error::Argument),
        (UTCP_OPTION_MAX_HALF_OPEN, 1, 1_048_576, Error::Argument),
        (UTCP_OPTION_MAX_CIRCUITS, 1, 16_777_216, Error::Argument),
        (
            UTCP_OPTION_SEND_BUFFER,
            4_096,
            1_073_741_824,
            Error::Argument,
        ),
        (
            UTCP_OPTION_RECEIVE_BUFFER,
            4_096,
            1_073_741_824,
            Error::Argument,
        ),
        (UTCP_OPTION_CONGESTION, 1, 3, Error::Range),
        (UTCP_OPTION_DATAGRAM_SIZE, 576, 65_507, Error::Argument),
        (
            UTCP_OPTION_HANDSHAKE_TIMEOUT,
            100_000,
            3_600_000_000,
            Error::Argument,
        ),
        (
            UTCP_OPTION_DEAD_TIMEOUT,
            1_000_000,
            86_400_000_000,
            Error::Argument,
        ),
        (UTCP_OPTION_MEMORY_BUDGET, 65_536, u64::MAX, Error::Argument),
        (UTCP_OPTION_PATH_MTU_DISCOVERY, 0, 1, Error::Argument),
        (UTCP_OPTION_LARGEST_DATAGRAM, 576, 16_421, Error::Argument),
        (UTCP_OPTION_ECN, 0, 1, Error::Argument),
        (UTCP_OPTION_COUPLED, 0, 1, Error::Argument),
        (UTCP_OPTION_COUPLED_FLOWS, 1, 64, Error::Argument),
        (UTCP_OPTION_CONNECTION_SHARE, 1, 100, Error::Argument),
    ];
    for (index, &(option, least, most, error)) in bounds.iter().enumerate() {
        let mut config = Config {
            chain: vec![1],
            key: vec![2],
            ..Config::default()
        };
        for value in [least, most] {
            assert_eq!(set(&mut config, option, value), Ok(()), "{option} {value}");
            assert_eq!(options(&config)[index], value);
        }
        let before = options(&config);
        for value in [least.checked_sub(1), most.checked_add(1)]
            .into_iter()
            .flatten()
        {
            assert_eq!(
                set(&mut config, option, value),
                Err(error),
                "{option} {value}"
            );
        }
        assert_eq!(options(&config), before);
        assert_eq!((&config.chain[..], &config.key[..]), (&[1][..], &[2][..]));
        let untouched = options(&Config::default());
        for other in (0..bounds.len()).filter(|other| *other != index) {
            assert_eq!(
                options(&config)[other],
                untouched[other],
                "{option} changed another"
            );
        }
    }
}

#[test]
fn unknown_options_are_refused() {
    for option in [0, 17, 19, 22, -1, c_int::MAX, c_int::MIN] {
        assert_eq!(set(&mut Config::default(), option, 1), Err(Error::Range));
    }
}

#[test]
fn handles_and_buffers_are_checked() {
    // SAFETY: all pointers are NULL or valid for their lengths.
    unsafe {
        let config = utcp_config_new();
        let octets = [7u8; 33];
        assert_eq!(utcp_config_set(null_mut(), 1, 1), UTCP_ERR_NULL);
        assert_eq!(utcp_config_free(null_mut()), UTCP_OK);
        assert_eq!(
            utcp_config_set_seed(config, octets.as_ptr(), 31),
            UTCP_ERR_ARGUMENT
        );
        assert_eq!(
            utcp_config_set_seed(config, octets.as_ptr(), 33),
            UTCP_ERR_ARGUMENT
        );
        assert_eq!(utcp_config_set_seed(config, null(), 32), UTCP_ERR_NULL);
        assert_eq!(utcp_config_set_seed(config, octets.as_ptr(), 32), UTCP_OK);
        let set = utcp_config_set_certificate;
        assert_eq!(
            set(config, octets.as_ptr(), 0, octets.as_ptr(), 1),
            UTCP_ERR_ARGUMENT
        );
        assert_eq!(set(config, octets.as_ptr(), 1, null(), 1), UTCP_ERR_NULL);
        assert_eq!(set(config, octets.as_ptr(), 2, octets.as_ptr(), 3), UTCP_OK);
        assert_eq!(utcp_config_set(config, 99, 1), UTCP_ERR_RANGE);
        let copy = for_endpoint(config).expect("a configuration");
        assert_eq!(
            (copy.seed, copy.chain.len(), copy.key.len()),
            ([7; 32], 2, 3)
        );
        let mut other = tag::ENDPOINT;
        assert_eq!(utcp_config_free((&raw mut other).cast()), UTCP_ERR_HANDLE);
        assert_eq!(utcp_config_free(config), UTCP_OK);
    }
}

#[test]
fn without_a_seed_every_endpoint_gets_one_of_its_own() {
    // SAFETY: a live configuration.
    unsafe {
        let config = utcp_config_new();
        let seeds = [for_endpoint(config), for_endpoint(config)].map(|c| c.expect("a seed").seed);
        assert_ne!(seeds[0], [0; 32]);
        assert_ne!(seeds[0], seeds[1]);
        utcp_config_free(config);
    }
}
