//! ConfigMaps and Secrets. A Secret shows how much there is, not what.

use base64::Engine;
use serde_json::Value;

use super::fields::{head, pairs, text};
use super::sheet::Sheet;

pub(super) fn config_map(sheet: &mut Sheet, map: &Value) {
    head(sheet, map);
    sheet.line(0, "\nData\n====");
    for (key, value) in pairs(map, "/data") {
        sheet.line(0, &format!("{key}:\n----\n{value}\n"));
    }
    sheet.line(0, "\nBinaryData\n====");
    for (key, value) in pairs(map, "/binaryData") {
        sheet.line(0, &format!("{key}: {} bytes", bytes(value)));
    }
    sheet.line(0, "");
}

pub(super) fn secret(sheet: &mut Sheet, secret: &Value) {
    head(sheet, secret);
    sheet.line(0, "");
    sheet.field(0, "Type", text(secret, "/type"));
    sheet.line(0, "\nData\n====");
    for (key, value) in pairs(secret, "/data") {
        sheet.field(0, key, format!("{} bytes", bytes(value)));
    }
}

fn bytes(encoded: &str) -> usize {
    base64::engine::general_purpose::STANDARD.decode(encoded).map_or(0, |bytes| bytes.len())
}
