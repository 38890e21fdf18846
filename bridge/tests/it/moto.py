"""moto's server, and the one thing that it lacks: a digest that is signed as it is (MessageType DIGEST)."""

from cryptography.hazmat.primitives.asymmetric import ec, utils
from moto.kms.utils import ECDSAPrivateKey
from moto.server import main

DIGEST_BYTES = 32
sign_message = ECDSAPrivateKey.sign


def sign(self, message, signing_algorithm):
    if len(message) != DIGEST_BYTES:
        return sign_message(self, message, signing_algorithm)
    hash_algorithm = self._ECDSAPrivateKey__hash_algorithm(signing_algorithm)
    return self.private_key.sign(message, ec.ECDSA(utils.Prehashed(hash_algorithm)))


ECDSAPrivateKey.sign = sign
main()
