"""Form of the upload page."""

from django import forms

from pictures.models import Picture


class UploadForm(forms.ModelForm):
    """Picture, and the address for the mail."""

    class Meta:
        model = Picture
        fields = ["original", "email"]
        labels = {"original": "Picture"}
