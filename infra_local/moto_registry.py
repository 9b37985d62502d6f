"""What moto's model registry lacks: an update that keeps what it does not name, and a package made once.

As in ``moto_mends``; the contract test is ``tests/contract/test_moto_registry.py``.
"""

from typing import Any

from moto.sagemaker.models import SageMakerModelBackend

from infra_local.moto_mends import mend


def mend_registry() -> None:
    """Puts both mends in place; once per process, before moto serves."""
    keep_what_is_not_named()
    make_packages_once()


def keep_what_is_not_named() -> None:
    """UpdateModelPackage changes what it names and keeps the rest.

    moto sets approval, its description and the customer's properties to nothing where the call leaves them out, so that
    approving a version would forget what was measured of it. On AWS they stay, and properties are added to those there.
    """
    original = SageMakerModelBackend.update_model_package

    def update_model_package(self: SageMakerModelBackend, **fields: Any) -> str:
        package = self.describe_model_package(fields["model_package_arn"])
        for name in ("model_approval_status", "approval_description"):
            if fields[name] is None:
                fields[name] = getattr(package, name)
        properties = (package.customer_metadata_properties, fields["customer_metadata_properties"])
        fields["customer_metadata_properties"] = {
            name: value for part in properties for name, value in (part or {}).items()
        }
        arn: str = original(self, **fields)
        return arn

    mend(SageMakerModelBackend, "update_model_package", update_model_package)


def make_packages_once() -> None:
    """CreateModelPackage sent again under the same ClientToken is done once, and says the same again.

    moto makes a second package, so that a registration repeated after a lost answer would stand twice.
    """
    original = SageMakerModelBackend.create_model_package

    def create_model_package(self: SageMakerModelBackend, **fields: Any) -> str:
        token, group = fields["client_token"], fields["model_package_group_name"]
        for package in list(self.model_packages.values()):
            if token and package.client_token == token and package.model_package_group_name == group:
                known: str = package.arn
                return known
        arn: str = original(self, **fields)
        return arn

    mend(SageMakerModelBackend, "create_model_package", create_model_package)
