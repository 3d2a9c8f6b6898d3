"""What every section of the settings has in common: it is closed, frozen, and takes no truth for a number."""

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Base of the settings' sections: closed and frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        # Python counts true as 1, and so would pydantic.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            msg = "true and false are no value for it"
            raise ValueError(msg)
        return value
