#!/usr/bin/env python3
"""Writes chains.txt, certificate chains that our own authority does not issue. Needs python3-cryptography; keys are new
in each run and not kept. Usage: make_chains.py > chains.txt"""
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN = datetime.datetime(2026, 1, 1)
END = datetime.datetime(2056, 1, 1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
HEADEND = "vpn.example.org"


def usage(*bits):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in bits for name in names})


class Issued:
    def __init__(self, name, issuer=None, extensions=(), end=END, begin=BEGIN):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        signer = issuer or self
        builder = (x509.CertificateBuilder().subject_name(self.name).issuer_name(signer.name)
                   .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(begin).not_valid_after(end))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        self.certificate = builder.sign(signer.key, hashes.SHA256())

    def hex(self):
        return self.certificate.public_bytes(serialization.Encoding.DER).hex()


def authority(name, issuer=None, path_length=None, extra=(), **times):
    basic = [(x509.BasicConstraints(True, path_length), True), (usage("key_cert_sign", "crl_sign"), True)]
    return Issued(name, issuer, basic + list(extra), **times)


def leaf(issuer, name=HEADEND, dns=(HEADEND,), purposes=(SERVER,), bits=("digital_signature",), extra=(), **times):
    extensions = [(x509.BasicConstraints(False, None), True), (usage(*bits), True)]
    if dns:
        extensions.append((x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), False))
    if purposes:
        extensions.append((x509.ExtendedKeyUsage(list(purposes)), False))
    return Issued(name, issuer, extensions + list(extra), **times)


def case(what, expect, *chain, identity=HEADEND, use="headend"):
    print(f"\n# {what}")
    print(f"Use = {use}\nIdentity = {identity}\nExpect = {expect}")
    for number, one in enumerate(chain):
        print(f"Certificate{number} = {one.hex()}")


root = authority("Root")
print("# Made by make_chains.py; valid from 2026 to 2056. What a peer shows, and what is to be thought of it.")
print(f"\n# the anchor\nAnchor = {root.hex()}")

middle = authority("Middle", root, 0)
good = leaf(middle)
case("an intermediate authority", "trusted", good, middle)
case("an intermediate that is not shown", "untrusted", good)
case("others between", "trusted", good, leaf(root, "other", ("other.example.org",)), middle)
case("the end entity is not the first", "wrong_usage", middle, good)
late = authority("Late", root, end=datetime.datetime(2026, 2, 1))
case("an intermediate that has expired", "expired", leaf(late), late)
lower = authority("Lower", middle)
case("more intermediates than the upper one allows", "untrusted", leaf(lower), lower, middle)
user = leaf(root, "mallory", ("mallory",), (CLIENT,))
case("signed by a user's certificate", "wrong_usage", leaf(user), user)
no_sign = Issued("No sign", root, [(x509.BasicConstraints(True, None), True), (usage("digital_signature"), True)])
case("signed by an authority that may not sign", "wrong_usage", leaf(no_sign), no_sign)

branch = authority("Branch", root, 0, [(x509.NameConstraints([x509.DNSName("branch.example.org")], None), True)])
case("within its issuer's name constraints", "trusted", leaf(branch, "x", ("vpn.branch.example.org",)), branch,
     identity="vpn.branch.example.org")
case("outside its issuer's name constraints", "untrusted", leaf(branch, "x"), branch)
users = authority("Users", root, 0, [(x509.ExtendedKeyUsage([CLIENT]), False)])
case("a headend of an authority that is for clients only", "wrong_usage", leaf(users), users)
case("a client of an authority that is for clients only", "trusted", leaf(users, "alice", ("alice",), (CLIENT,)), users,
     identity="alice", use="client")

case("a key that may not sign", "wrong_usage", leaf(root, bits=("key_encipherment",)))
case("a key for non-repudiation", "trusted", leaf(root, bits=("content_commitment",)))
case("no extended key usage", "trusted", leaf(root, purposes=()))
case("any extended key usage", "trusted", leaf(root, purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)))
case("an extended key usage of something else", "wrong_usage", leaf(root, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)))
case("an unknown critical extension", "untrusted",
     leaf(root, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]))

wild = leaf(root, "wild", ("*.example.org",))
case("a wildcard for one label", "trusted", wild)
case("a wildcard for two labels", "wrong_name", wild, identity="a.vpn.example.org")
case("a wildcard for none", "wrong_name", wild, identity="example.org")
case("a wildcard as the name itself", "wrong_name", wild, identity="fqdn:*.example.org")
case("a wildcard that is part of a label", "wrong_name", leaf(root, "wild", ("v*.example.org",)))
case("a wildcard over a top-level domain", "wrong_name", leaf(root, "wild", ("*.org",)), identity="example.org")
case("a client with a wildcard", "wrong_name", leaf(root, "wild", ("*.example.org",), (CLIENT,)),
     identity="a.example.org", use="client")
case("the CN of a headend counts for nothing", "wrong_name", leaf(root, HEADEND, ()))
case("the CN of a client without names", "trusted", leaf(root, "alice.example.org", (), (CLIENT,)),
     identity="alice.example.org", use="client")
case("the CN of a client with another name", "wrong_name", leaf(root, "alice.example.org", ("bob.example.org",), (CLIENT,)),
     identity="alice.example.org", use="client")
