"""The video player: its gradio component with payload and events (`component`), the frames of videos in a form that
browsers display (`proxy`), and the HTTP routes that it fetches scripts, frames, masks and downloads from (`routes`).
"""
