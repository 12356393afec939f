#!/bin/sh
# Hierarchies by OpenSSL, each with one way of signing throughout: root, issuing CA, a voter's certificate. Keys are thrown away.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > ca.ext <<'EXT'
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
EXT
cat > leaf.ext <<'EXT'
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
certificatePolicies = 1.3.6.1.4.1.99999.1.2
EXT

# hierarchy NAME HASH "how to make a key" "how to sign"
hierarchy() {
    name=$1 hash=$2 key=$3 sign=$4
    for of in root issuing; do
        openssl genpkey $key -out $of.key 2>/dev/null
        openssl req -new -key $of.key $hash $sign -subj "/C=EE/O=Made by OpenSSL/CN=$name $of" -out $of.csr
    done
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out leaf.key
    openssl req -new -key leaf.key -subj "/C=EE/CN=TAMM,MARI,38001011000/serialNumber=PNOEE-38001011000" -out leaf.csr
    openssl x509 -req -in root.csr -key root.key $hash $sign -days 8000 -extfile ca.ext -out root.pem 2>/dev/null
    openssl x509 -req -in issuing.csr -CA root.pem -CAkey root.key -CAcreateserial $hash $sign -days 8000 -extfile ca.ext -out issuing.pem 2>/dev/null
    openssl x509 -req -in leaf.csr -CA issuing.pem -CAkey issuing.key -CAcreateserial $hash $sign -days 7900 -extfile leaf.ext -out leaf.pem 2>/dev/null
    cat root.pem issuing.pem leaf.pem > "$here/$name.pem"
}

ec() { echo "-algorithm EC -pkeyopt ec_paramgen_curve:$1 -pkeyopt ec_param_enc:named_curve"; }
rsa="-algorithm RSA -pkeyopt rsa_keygen_bits:2048"
pss() { echo "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:$1 ${2:-}"; }
restricted="-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha384 -pkeyopt rsa_pss_keygen_mgf1_md:sha384 -pkeyopt rsa_pss_keygen_saltlen:48"

# Checked here.
hierarchy p256-sha384 -sha384 "$(ec P-256)" ""
hierarchy p384-sha256 -sha256 "$(ec P-384)" ""
hierarchy p384-sha512 -sha512 "$(ec P-384)" ""
hierarchy p521-sha384 -sha384 "$(ec P-521)" ""
hierarchy p521-sha512 -sha512 "$(ec P-521)" ""
hierarchy rsa-sha256 -sha256 "$rsa" ""
hierarchy rsa-sha384 -sha384 "$rsa" ""
hierarchy rsa-sha512 -sha512 "$rsa" ""
hierarchy pss-sha256 -sha256 "$rsa" "$(pss digest)"
hierarchy pss-sha384 -sha384 "$rsa" "$(pss digest)"
hierarchy pss-sha512 -sha512 "$rsa" "$(pss digest)"
hierarchy pss-key-sha384 -sha384 "$restricted" "$(pss digest)"
hierarchy pss-free-key-sha256 -sha256 "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048" "$(pss digest)"
# Not checked here.
hierarchy no-p256-sha512 -sha512 "$(ec P-256)" ""
hierarchy no-p521-sha256 -sha256 "$(ec P-521)" ""
hierarchy no-secp256k1 -sha256 "$(ec secp256k1)" ""
hierarchy no-brainpool -sha384 "$(ec brainpoolP384r1)" ""
hierarchy no-ed25519 "" "-algorithm ED25519" ""
hierarchy no-rsa-1024 -sha256 "-algorithm RSA -pkeyopt rsa_keygen_bits:1024" ""
hierarchy no-rsa-sha1 -sha1 "$rsa" ""
hierarchy no-pss-salt -sha256 "$rsa" "$(pss 20)"
hierarchy no-pss-mask -sha256 "$rsa" "$(pss digest '-sigopt rsa_mgf1_md:sha1')"
