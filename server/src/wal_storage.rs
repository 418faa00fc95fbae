//! How a server's WAL is stored, as its configuration says.

use barman_catalog::{CustomFilters, WalCompression, WalStorage};
use barman_config::ServerConfig;
use barman_storage::codec::{Algorithm, Compression, Level, ShellFilter};

/// Reads the options about it.
///
/// # Errors
/// What is wrong with them, in Barman's words where it has any: nothing can be compressed as configured.
pub(crate) fn of(config: &ServerConfig) -> Result<WalStorage, String> {
    let filter = |command: &Option<String>| command.clone().map(ShellFilter::new);
    let filters = CustomFilters {
        compress: filter(&config.custom_compression_filter),
        decompress: filter(&config.custom_decompression_filter),
        magic: config.custom_compression_magic.as_deref().map(magic).transpose()?,
    };
    let compression = config.compression.as_deref().map(|name| compression(name, config)).transpose()?;
    Ok(WalStorage {
        compression,
        filters,
        recipient: config.encryption_key_id.clone().filter(|_| config.encryption),
        passphrase_command: filter(&config.encryption_passphrase_command),
    })
}

fn compression(name: &str, config: &ServerConfig) -> Result<WalCompression, String> {
    if name == "custom" {
        return match (&config.custom_compression_filter, &config.custom_decompression_filter) {
            (Some(_), Some(_)) => Ok(WalCompression::Custom),
            (None, _) => Err("custom_compression_filter is not set".to_owned()),
            (_, None) => Err("custom_decompression_filter is not set".to_owned()),
        };
    }
    let algorithm: Algorithm = name.parse().map_err(|error| format!("{error}"))?;
    let level: Level = config.compression_level.parse().map_err(|error| format!("{error}"))?;
    Ok(WalCompression::BuiltIn(Compression { algorithm, level }))
}

/// `0x425A68`: an even number of hexadecimal digits.
fn magic(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("custom_compression_magic is '{text}', expected 0x and pairs of hexadecimal digits");
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).ok_or_else(wrong)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    pairs.collect::<Option<Vec<u8>>>().filter(|magic| !magic.is_empty()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_number_is_hexadecimal() {
        assert_eq!(magic("0x425a68"), Ok(b"BZh".to_vec()));
        for text in ["", "0x", "425a68", "0x4", "0xZZ", "0x42é"] {
            assert!(magic(text).is_err(), "{text}");
        }
    }
}
