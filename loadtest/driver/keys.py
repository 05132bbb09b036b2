"""A certificate, keys and tokens for load tests, made once a work folder by openssl. Worth nothing anywhere else."""
import base64
import hashlib
import hmac
import json
import os
import subprocess
from types import SimpleNamespace


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def openssl(*argv, **more):
    return subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True, **more).stdout


def make(work):
    folder = work / "keys"
    cert, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *ec, "-days", 3650, "-subj", "/CN=loadtest CA", "-keyout", folder / "ca.key", "-out", ca)
        openssl("req", *ec, "-subj", "/CN=localhost", "-keyout", key, "-out", folder / "request.pem")
        (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", folder / "request.pem", "-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial",
                "-days", 3650, "-extfile", folder / "ext", "-out", cert)
        for name, how in (("RS256", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
                          ("ES256", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])):
            openssl("genpkey", "-algorithm", *how, "-out", folder / f"{name}.pem")
            openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub.pem")
        # Peers drop their privileges before they read it.
        os.chmod(key, 0o644)
        (folder / "haproxy.pem").write_text(cert.read_text() + key.read_text())
        (folder / "done").touch()
    public = {name: folder / f"{name}.pub.pem" for name in ("RS256", "ES256")}
    secret = "0123456789abcdef0123456789abcdef"
    modulus = openssl("rsa", "-pubin", "-in", public["RS256"], "-noout", "-modulus").decode().strip()[8:]
    point = openssl("pkey", "-pubin", "-in", public["ES256"], "-outform", "DER")[-64:]
    jwks = {
        "HS256": {"kty": "oct", "alg": "HS256", "kid": "k1", "k": base64url(secret.encode())},
        "RS256": {"kty": "RSA", "alg": "RS256", "kid": "k1", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB"},
        "ES256": {"kty": "EC", "alg": "ES256", "kid": "k1", "crv": "P-256", "x": base64url(point[:32]),
                  "y": base64url(point[32:])},
    }
    return SimpleNamespace(cert=cert, key=key, ca=ca, both=folder / "haproxy.pem", secret=secret, jwks=jwks,
                           public=public, token=lambda algorithm: token(algorithm, folder, secret))


def token(algorithm, folder, secret):
    head = {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    claims = {"iss": "loadtest", "sub": "u-1029384", "aud": "api", "exp": 2**31 + 2**30, "scope": "orders:read profile"}
    message = base64url(json.dumps(head).encode()) + "." + base64url(json.dumps(claims).encode())
    if algorithm == "HS256":
        signature = hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()
    else:
        signature = openssl("dgst", "-sha256", "-sign", folder / f"{algorithm}.pem", input=message.encode())
        signature = raw_signature(signature) if algorithm == "ES256" else signature
    return message + "." + base64url(signature)


def raw_signature(der):
    """r and s of a DER signature, 32 bytes each (RFC 7518 section 3.4)."""
    out, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        out += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return out


def forged(good):
    """The token with another signature."""
    return good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB")
